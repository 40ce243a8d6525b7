// Reads one external metric as the HPA controller does: through the official client, which asks
// for protobuf and takes what it is given. Prints what arrived as JSON, and in which
// representation, for the e2e test that runs it.
//
//	external-client KUBECONFIG NAMESPACE METRIC SELECTOR
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/metrics/pkg/client/external_metrics"
)

// Answer is what is printed.
type Answer struct {
	// ContentType is the one of the response on the wire.
	ContentType string `json:"contentType"`
	Items       []Item `json:"items"`
}

// Item is one value, in the client's own types until here.
type Item struct {
	Metric string            `json:"metric"`
	Labels map[string]string `json:"labels"`
	// Value is a Quantity in canonical form.
	Value string `json:"value"`
	// Milli is the figure that the HPA controller calculates with.
	Milli int64 `json:"milli"`
	// Timestamp is in seconds since 1970.
	Timestamp int64 `json:"timestamp"`
}

// listener hears in which representation an answer came.
type listener struct {
	next        http.RoundTripper
	contentType string
}

func (l *listener) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := l.next.RoundTrip(request)
	if err == nil {
		l.contentType = response.Header.Get("Content-Type")
	}
	return response, err
}

func read(kubeconfig, namespace, metric, selector string) (*Answer, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	// As in kube-controller-manager; the client then accepts "application/vnd.kubernetes.protobuf, */*".
	config.ContentType = "application/vnd.kubernetes.protobuf"
	heard := &listener{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		heard.next = next
		return heard
	})
	client, err := external_metrics.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	which, err := labels.Parse(selector)
	if err != nil {
		return nil, err
	}
	list, err := client.NamespacedMetrics(namespace).List(metric, which)
	if err != nil {
		return nil, err
	}
	answer := &Answer{ContentType: heard.contentType}
	for _, value := range list.Items {
		answer.Items = append(answer.Items, Item{
			Metric:    value.MetricName,
			Labels:    value.MetricLabels,
			Value:     value.Value.String(),
			Milli:     value.Value.MilliValue(),
			Timestamp: value.Timestamp.Unix(),
		})
	}
	return answer, nil
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: external-client KUBECONFIG NAMESPACE METRIC SELECTOR")
		os.Exit(2)
	}
	answer, err := read(os.Args[1], os.Args[2], os.Args[3], os.Args[4])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answer)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
