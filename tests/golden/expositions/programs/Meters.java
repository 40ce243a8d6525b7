// An application with Micrometer's metrics.
import com.sun.net.httpserver.HttpServer;
import io.micrometer.core.instrument.*;
import io.micrometer.core.instrument.binder.jvm.JvmThreadMetrics;
import io.micrometer.core.instrument.binder.system.UptimeMetrics;
import io.micrometer.prometheusmetrics.*;
import java.net.InetSocketAddress;
import java.time.Duration;

public class Meters {
  public static void main(String[] args) throws Exception {
    var registry = new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);
    new UptimeMetrics().bindTo(registry);
    new JvmThreadMetrics().bindTo(registry);
    Counter.builder("app.requests").description("Requests.").tags("method", "GET", "path", "/").register(registry).increment(25);
    Counter.builder("app.requests").tags("method", "POST", "path", "/a \"quoted\"\\path\nof two lines").register(registry).increment(0.1 + 0.2);
    for (double value : new double[] {-3.25, Double.NaN, Double.POSITIVE_INFINITY}) {
      Gauge.builder("app.temperature", () -> value).baseUnit("celsius").tags("place", "Köln " + value).register(registry);
    }
    var timer = Timer.builder("app.duration").publishPercentiles(.5).serviceLevelObjectives(Duration.ofMillis(100), Duration.ofSeconds(1)).tags("path", "/").register(registry);
    var summary = DistributionSummary.builder("app.size").baseUnit("bytes").register(registry);
    for (double value : new double[] {.05, .7, 3, 30}) {
      timer.record(Duration.ofMillis((long) (value * 1000)));
      summary.record(value * 1e300);
    }
    LongTaskTimer.builder("app.import").register(registry).start();
    var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 0);
    server.createContext("/metrics", exchange -> {
      var accept = exchange.getRequestHeaders().getFirst("Accept");
      var type = accept.startsWith("application") ? "application/openmetrics-text; version=1.0.0; charset=utf-8" : "text/plain; version=0.0.4; charset=utf-8";
      var body = registry.scrape(type).getBytes("UTF-8");
      exchange.getResponseHeaders().set("Content-Type", type);
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
    });
    server.start();
  }
}
