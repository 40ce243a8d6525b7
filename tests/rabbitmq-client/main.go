// Publishes and consumes messages of RabbitMQ by the official client, for the e2e test that runs it.
//
//	rabbitmq-client publish URL QUEUE COUNT     returns when RabbitMQ has confirmed all of them
//	rabbitmq-client work URL QUEUE DURATION     takes one message at a time, and so long for it, until it is killed
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func publish(channel *amqp.Channel, queue string, count int) error {
	if err := channel.Confirm(false); err != nil {
		return err
	}
	for number := range count {
		message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(strconv.Itoa(number))}
		confirmation, err := channel.PublishWithDeferredConfirm("", queue, true, false, message)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		confirmed, err := confirmation.WaitContext(ctx)
		cancel()
		if err != nil || !confirmed {
			return fmt.Errorf("message %d is not confirmed: %v", number, err)
		}
	}
	return nil
}

func work(channel *amqp.Channel, queue string, duration time.Duration) error {
	// Without this, one worker takes all messages.
	if err := channel.Qos(1, 0, false); err != nil {
		return err
	}
	deliveries, err := channel.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for delivery := range deliveries {
		time.Sleep(duration)
		if err := delivery.Ack(false); err != nil {
			return err
		}
	}
	return fmt.Errorf("the channel was closed")
}

func run(arguments []string) error {
	if len(arguments) != 4 {
		return fmt.Errorf("usage: rabbitmq-client publish URL QUEUE COUNT | work URL QUEUE DURATION")
	}
	command, url, queue, amount := arguments[0], arguments[1], arguments[2], arguments[3]
	connection, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	switch command {
	case "publish":
		count, err := strconv.Atoi(amount)
		if err != nil {
			return err
		}
		return publish(channel, queue, count)
	case "work":
		duration, err := time.ParseDuration(amount)
		if err != nil {
			return err
		}
		return work(channel, queue, duration)
	}
	return fmt.Errorf("no such command: %s", command)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rabbitmq-client:", err)
		os.Exit(1)
	}
}
