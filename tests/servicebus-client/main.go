// Drives a namespace with the official administration client and prints what it got, as one JSON object.
//
//	servicebus-client SCENARIO CONNECTION_STRING CA_FILE
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus/admin"
)

type object = map[string]any

func open(connectionString, caFile string) (*admin.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", caFile)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	return admin.NewClientFromConnectionString(connectionString, &admin.ClientOptions{ClientOptions: azcore.ClientOptions{
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Transport: &http.Client{Transport: transport},
	}})
}

// failure is the status of an error response.
func failure(err error) string {
	var response *azcore.ResponseError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &response):
		return strconv.Itoa(response.StatusCode)
	default:
		return err.Error()
	}
}

func create(ctx context.Context, bus *admin.Client) (object, error) {
	if _, err := bus.CreateQueue(ctx, "Team/Orders", nil); err != nil {
		return nil, err
	}
	if _, err := bus.CreateTopic(ctx, "events", nil); err != nil {
		return nil, err
	}
	for _, name := range []string{"eu", "us"} {
		if _, err := bus.CreateSubscription(ctx, "events", name, nil); err != nil {
			return nil, err
		}
	}
	_, err := bus.CreateQueue(ctx, "Team/Orders", nil)
	return object{"created": true, "exists": failure(err)}, nil
}

func read(ctx context.Context, bus *admin.Client) (object, error) {
	queue, err := bus.GetQueueRuntimeProperties(ctx, "Team/Orders", nil)
	if err != nil {
		return nil, err
	}
	counts := func(queue admin.QueueRuntimeProperties) []int32 {
		return []int32{queue.ActiveMessageCount, queue.DeadLetterMessageCount, queue.ScheduledMessageCount}
	}
	queues, subscriptions, topics := object{}, object{}, []string{}
	for pager := bus.NewListQueuesRuntimePropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, queue := range page.QueueRuntimeProperties {
			queues[queue.QueueName] = counts(queue.QueueRuntimeProperties)
		}
	}
	for pager := bus.NewListSubscriptionsRuntimePropertiesPager("events", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, subscription := range page.SubscriptionRuntimeProperties {
			subscriptions[subscription.SubscriptionName] = subscription.ActiveMessageCount
		}
	}
	for pager := bus.NewListTopicsPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, topic := range page.Topics {
			topics = append(topics, topic.TopicName)
		}
	}
	eu, err := bus.GetSubscription(ctx, "events", "eu", nil)
	if err != nil {
		return nil, err
	}
	gone, err := bus.GetQueue(ctx, "gone", nil)
	if err != nil {
		return nil, err
	}
	missing := "found"
	if gone == nil {
		missing = "nil"
	}
	return object{
		"queue": counts(queue.QueueRuntimeProperties), "queues": queues, "subscriptions": subscriptions,
		"status": eu.Status, "missing": missing, "topics": topics,
	}, nil
}

func run(arguments []string) error {
	if len(arguments) != 3 {
		return fmt.Errorf("usage: servicebus-client SCENARIO CONNECTION_STRING CA_FILE")
	}
	scenario, connectionString, caFile := arguments[0], arguments[1], arguments[2]
	if scenario == "refused" {
		connectionString += "x"
	}
	bus, err := open(connectionString, caFile)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var said object
	switch scenario {
	case "create":
		said, err = create(ctx, bus)
	case "read":
		said, err = read(ctx, bus)
	case "refused":
		_, refused := bus.GetQueue(ctx, "Team/Orders", nil)
		said = object{"wrong_key": failure(refused)}
	default:
		err = fmt.Errorf("no such scenario: %s", scenario)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(said)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "servicebus-client:", err)
		os.Exit(1)
	}
}
