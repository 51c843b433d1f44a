package otlp

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
)

// maxBatch caps the SDK's queue and its batches, in spans.
const maxBatch = 1 << 16

// checkSDK looks for mistakes in the environment that the SDK reads. Of some it says nothing,
// and others it does not survive: a queue of -1.
func checkSDK() error {
	for name, most := range map[string]int{
		"OTEL_BSP_MAX_QUEUE_SIZE": maxBatch, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": maxBatch,
		"OTEL_BSP_SCHEDULE_DELAY": maxMilliseconds, "OTEL_BSP_EXPORT_TIMEOUT": maxMilliseconds,
	} {
		if value := os.Getenv(name); value != "" {
			if _, err := number(name, value, most); err != nil {
				return err
			}
		}
	}
	switch strings.ToLower(strings.TrimSpace(os.Getenv("OTEL_TRACES_SAMPLER"))) {
	case "", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off":
	case "traceidratio", "parentbased_traceidratio":
		share := strings.TrimSpace(os.Getenv("OTEL_TRACES_SAMPLER_ARG"))
		if n, err := strconv.ParseFloat(share, 64); share != "" && (err != nil || !(n >= 0 && n <= 1)) {
			return errors.New("OTEL_TRACES_SAMPLER_ARG: not a number from 0 to 1")
		}
	default:
		return errors.New("OTEL_TRACES_SAMPLER: no sampler of this name; for all logins it is parentbased_always_on, for some parentbased_traceidratio")
	}
	return nil
}

// readResource reads what all spans say of this process.
func readResource(version string) (*resource.Resource, error) {
	about, err := resource.New(context.Background(),
		resource.WithAttributes(semconv.ServiceName("credproxy"), semconv.ServiceVersion(version)), resource.WithFromEnv())
	if err != nil {
		return nil, errors.New("OTEL_RESOURCE_ATTRIBUTES: an entry is not name=value")
	}
	for _, a := range about.Attributes() {
		if !utf8.ValidString(string(a.Key) + a.Value.AsString()) { // no span could be sent
			return nil, errors.New("OTEL_RESOURCE_ATTRIBUTES or OTEL_SERVICE_NAME: not UTF-8")
		}
	}
	return about, nil
}
