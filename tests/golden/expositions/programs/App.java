// An application with the metrics of every type of io.prometheus:prometheus-metrics.
import io.prometheus.metrics.core.metrics.*;
import io.prometheus.metrics.exporter.httpserver.HTTPServer;
import io.prometheus.metrics.instrumentation.jvm.*;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import io.prometheus.metrics.model.snapshots.Labels;

public class App {
  public static void main(String[] args) throws Exception {
    var registry = new PrometheusRegistry();
    ProcessMetrics.builder().register(registry);
    JvmRuntimeInfoMetric.builder().register(registry);
    JvmThreadsMetrics.builder().register(registry);
    JvmGarbageCollectorMetrics.builder().register(registry);
    var requests = Counter.builder().name("app_requests_total").help("Requests of \"/\" \\ and\nothers.").labelNames("method", "path").register(registry);
    var temperature = Gauge.builder().name("app_temperature_celsius").help("Über 30 °C.").labelNames("place").register(registry);
    var duration = Histogram.builder().name("app_duration_seconds").help("Time of a request.").classicUpperBounds(0.005, 0.1, 1, 2.5e6).labelNames("path").register(registry);
    var size = Summary.builder().name("app_size_bytes").help("Sizes.").quantile(0.5).quantile(0.99).register(registry);
    var state = StateSet.builder().name("app_state").help("The state.").states("starting", "running").register(registry);
    var build = Info.builder().name("app_build_info").help("The build.").labelNames("version", "empty").register(registry);
    requests.labelValues("GET", "/").incWithExemplar(25, Labels.of("trace_id", "KOO5S4vxi0o"));
    requests.labelValues("POST", "/a \"quoted\"\\path\nof two lines").inc(0.1 + 0.2);
    temperature.labelValues("Köln").set(-3.25);
    temperature.labelValues("nan").set(Double.NaN);
    temperature.labelValues("inf").set(Double.POSITIVE_INFINITY);
    temperature.labelValues("-inf").set(Double.NEGATIVE_INFINITY);
    temperature.labelValues("tiny").set(Double.MIN_VALUE);
    for (double value : new double[] {.05, .7, 3, 30}) {
      duration.labelValues("/").observeWithExemplar(value, Labels.of("trace_id", "oHg5SJYRHA0"));
      size.observe(value * 1e300);
    }
    state.setTrue("running");
    build.addLabelValues("1.2.3", "");
    // Names that only version 1.0.0 of the text format can have.
    Counter.builder().name("app.jobs.done").help("Jobs.").labelNames("job.name").register(registry).labelValues("a \"b\"").inc(7);
    HTTPServer.builder().hostname("127.0.0.1").port(Integer.parseInt(args[0])).registry(registry).buildAndStart();
    Thread.currentThread().join();
  }
}
