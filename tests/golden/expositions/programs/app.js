// An application with prom-client's metrics of every type: node app.js text|openmetrics PORT
const http = require('http');
const client = require('prom-client');

const registry = new client.Registry();
const openMetrics = process.argv[2] === 'openmetrics';
registry.setContentType(openMetrics ? client.Registry.OPENMETRICS_CONTENT_TYPE : client.Registry.PROMETHEUS_CONTENT_TYPE);
client.collectDefaultMetrics({ register: registry });
const registers = [registry];
const enableExemplars = openMetrics;
const requests = new client.Counter({ name: 'app_requests_total', help: 'Requests of "/" \\ and\nothers.', labelNames: ['method', 'path'], registers, enableExemplars });
const temperature = new client.Gauge({ name: 'app_temperature_celsius', help: 'Über 30 °C.', labelNames: ['place'], registers });
const duration = new client.Histogram({ name: 'app_duration_seconds', help: 'Time of a request.', labelNames: ['path'], buckets: [0.005, 0.1, 1, 2.5e6], registers, enableExemplars });
const size = new client.Summary({ name: 'app_size_bytes', help: 'Sizes.', percentiles: [0.5, 0.99], registers });
const path = '/a "quoted"\\path\nof two lines';
if (openMetrics) {
  requests.inc({ labels: { method: 'GET', path: '/' }, value: 25, exemplarLabels: { trace_id: 'KOO5S4vxi0o' } });
  requests.inc({ labels: { method: 'POST', path }, value: 0.1 + 0.2 });
} else {
  requests.inc({ method: 'GET', path: '/' }, 25);
  requests.inc({ method: 'POST', path }, 0.1 + 0.2);
}
for (const [place, value] of [['Köln', -3.25], ['nan', NaN], ['inf', Infinity], ['-inf', -Infinity], ['tiny', 5e-324], ['huge', 1e21]]) {
  temperature.set({ place }, value);
}
for (const value of [0.05, 0.7, 3, 30]) {
  if (openMetrics) duration.observe({ labels: { path: '/' }, value, exemplarLabels: { trace_id: 'oHg5SJYRHA0' } });
  else duration.observe({ path: '/' }, value);
  size.observe(value * 1e300);
}
http.createServer(async (_, response) => {
  response.setHeader('Content-Type', registry.contentType);
  response.end(await registry.metrics());
}).listen(Number(process.argv[3]), '127.0.0.1');
