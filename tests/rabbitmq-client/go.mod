// The official Go client of RabbitMQ, which an e2e test publishes and consumes with.
module depthgauge.dev/tests/rabbitmq-client

go 1.26.0

require github.com/rabbitmq/amqp091-go v1.16.0
