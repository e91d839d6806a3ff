// A shop in Go: asks for a checkout and waits for its end. It knows Kafka and the registry, no code of this project.
//
//	go run . [CHECKOUT_ID] [PAYMENT_METHOD]
//
// Reads KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and, where topics have one, TOPIC_PREFIX.
// Exit code: 0 completed, 1 failed, 2 no end within a minute or no way to ask.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hamba/avro/v2"
	"github.com/hamba/avro/v2/registry"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = time.Minute

type line struct {
	SKU            string `avro:"sku"`
	Quantity       int    `avro:"quantity"`
	UnitPriceMinor int64  `avro:"unit_price_minor"`
}

type requested struct {
	EventID         string     `avro:"event_id"`
	CheckoutID      string     `avro:"checkout_id"`
	OccurredAt      time.Time  `avro:"occurred_at"`
	CustomerID      string     `avro:"customer_id"`
	PaymentMethodID string     `avro:"payment_method_id"`
	Currency        string     `avro:"currency"`
	TotalMinor      int64      `avro:"total_minor"`
	Lines           []line     `avro:"lines"`
	ExpiresAt       *time.Time `avro:"expires_at"`
}

type shop struct {
	speaks  *kgo.Client
	hears   *kgo.Client
	schemas *registry.Client
	prefix  string
}

func main() {
	id, method := argument(1, "go-"+uuid.NewString()[:12]), argument(2, "customer-1:ok")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	completed, err := run(ctx, id, method)
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", id, err)
		os.Exit(2)
	case !completed:
		os.Exit(1)
	}
}

func argument(n int, otherwise string) string {
	if len(os.Args) > n {
		return os.Args[n]
	}
	return otherwise
}

func run(ctx context.Context, id, method string) (completed bool, err error) {
	s := shop{prefix: os.Getenv("TOPIC_PREFIX")}
	if s.schemas, err = registry.NewClient(os.Getenv("SCHEMA_REGISTRY_URL")); err != nil {
		return false, err
	}
	brokers := kgo.SeedBrokers(strings.Split(os.Getenv("KAFKA_BOOTSTRAP_SERVERS"), ",")...)
	if s.speaks, err = kgo.NewClient(brokers); err != nil {
		return false, err
	}
	defer s.speaks.Close()
	now, err := s.ends(ctx)
	if err != nil {
		return false, err
	}
	if s.hears, err = kgo.NewClient(brokers, kgo.ConsumePartitions(now)); err != nil {
		return false, err
	}
	defer s.hears.Close()
	if err := s.ask(ctx, basket(id, method)); err != nil {
		return false, err
	}
	fmt.Printf("%s: asked for\n", id)
	return s.end(ctx, id)
}

// basket is two cups; the total is the sum of the lines, in cents.
func basket(id, method string) requested {
	return requested{
		EventID:         uuid.Must(uuid.NewV7()).String(),
		CheckoutID:      id,
		OccurredAt:      time.Now().UTC(),
		CustomerID:      "customer-1",
		PaymentMethodID: method,
		Currency:        "EUR",
		TotalMinor:      2500,
		Lines:           []line{{SKU: "sku-1", Quantity: 2, UnitPriceMinor: 1250}},
	}
}

// ends is where the topics of both ends end now: to be known before anything is published.
func (s shop) ends(ctx context.Context) (map[string]map[int32]kgo.Offset, error) {
	listed, err := kadm.NewClient(s.speaks).ListEndOffsets(ctx, s.prefix+"checkout.completed", s.prefix+"checkout.failed")
	if err == nil {
		err = listed.Error()
	}
	return listed.KOffsets(), err
}

// ask publishes the request. The registry has the schema already: a shop never registers one.
func (s shop) ask(ctx context.Context, event requested) error {
	topic := s.prefix + "checkout.requested"
	schema, err := s.schemas.GetLatestSchemaInfo(ctx, topic+"-value")
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	body, err := avro.Marshal(schema.Schema, event)
	if err != nil {
		return err
	}
	// the Confluent wire format: 0x00, the schema's id, the record
	value := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(schema.ID)), body...)
	// the key is the checkout_id: all that is said of it stays in order
	record := &kgo.Record{Topic: topic, Key: []byte(event.CheckoutID), Value: value}
	return s.speaks.ProduceSync(ctx, record).FirstErr()
}

// end waits for the checkout's end, tells it, and says whether it completed.
func (s shop) end(ctx context.Context, id string) (bool, error) {
	decoder := registry.NewDecoder(s.schemas)
	for {
		fetches := s.hears.PollFetches(ctx)
		if ctx.Err() != nil {
			return false, fmt.Errorf("no end within %s; do the services run?", patience)
		}
		if err := fetches.Err(); err != nil {
			return false, err
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			record := iter.Next()
			if string(record.Key) != id {
				continue
			}
			var event map[string]any
			if err := decoder.Decode(ctx, record.Value, &event); err != nil {
				return false, err
			}
			if record.Topic == s.prefix+"checkout.completed" {
				fmt.Printf("%s: completed, order %v\n", id, event["order_id"])
				return true, nil
			}
			fmt.Printf("%s: failed, %v: %v\n", id, event["code"], event["message"])
			return false, nil
		}
	}
}
