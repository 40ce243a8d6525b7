// An application with client_golang's metrics of every type.
package main

import (
	"math"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// stamped has samples with timestamps.
type stamped struct{ desc *prometheus.Desc }

func (s stamped) Describe(ch chan<- *prometheus.Desc) { ch <- s.desc }
func (s stamped) Collect(ch chan<- prometheus.Metric) {
	for path, at := range map[string]time.Time{"/a": time.UnixMilli(1700000000123), "/b": time.UnixMilli(1700000000000)} {
		sample := prometheus.MustNewConstMetric(s.desc, prometheus.CounterValue, 1e21, path)
		ch <- prometheus.NewMetricWithTimestamp(at, sample)
	}
}

func main() {
	registry := prometheus.NewRegistry()
	process := collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "app_requests_total", Help: `Requests of "/" \ and
others.`}, []string{"method", "path"})
	temperature := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "app_temperature_celsius", Help: "Über 30 °C."}, []string{"place"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "app_duration_seconds", Help: "Time of a request.", Buckets: []float64{.005, .1, 1, 2.5e6},
		NativeHistogramBucketFactor: 1.1,
	}, []string{"path"})
	size := prometheus.NewSummary(prometheus.SummaryOpts{Name: "app_size_bytes", Help: "Sizes.", Objectives: map[float64]float64{.5: .05, .99: .001}})
	idle := prometheus.NewSummary(prometheus.SummaryOpts{Name: "app_idle_seconds", Help: "Nothing yet.", Objectives: map[float64]float64{.5: .05}})
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "app_build_info", Help: "The build.", ConstLabels: prometheus.Labels{"version": "1.2.3", "empty": ""}})
	// A name that only version 1.0.0 of the formats can have.
	dotted := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "app.jobs.done_total", Help: "Jobs."}, []string{"job.name"})
	stamps := stamped{prometheus.NewDesc("app_stamped_total", "With timestamps.", []string{"path"}, nil)}
	registry.MustRegister(process, requests, temperature, duration, size, idle, build, dotted, stamps)

	requests.WithLabelValues("GET", "/").(prometheus.ExemplarAdder).AddWithExemplar(25, prometheus.Labels{"trace_id": "KOO5S4vxi0o"})
	requests.WithLabelValues("POST", "/a \"quoted\"\\path\nof two lines").Add(0.1 + 0.2)
	for place, value := range map[string]float64{"Köln": -3.25, "nan": math.NaN(), "inf": math.Inf(1), "-inf": math.Inf(-1), "tiny": 5e-324} {
		temperature.WithLabelValues(place).Set(value)
	}
	for _, value := range []float64{.05, .7, 3, 30} {
		duration.WithLabelValues("/").(prometheus.ExemplarObserver).ObserveWithExemplar(value, prometheus.Labels{"trace_id": "oHg5SJYRHA0"})
		size.Observe(value * 1e300)
	}
	build.Set(1)
	dotted.WithLabelValues(`a "b"`).Add(7)

	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, EnableOpenMetricsTextCreatedSamples: true}))
	panic(http.ListenAndServe(os.Args[1], nil))
}
