// Command credproxy-rotation is the rotation function of Secrets Manager, for AWS Lambda: a
// static binary named bootstrap on provided.al2023. It takes the place of the templates that
// AWS publishes: it is called with the same events, and goes by the same keys of the secret
// and the same environment. docs/rotation-setup.md has all of it.
//
// Invariant: the output has no password and no rotation token.
//
// The package turns events and environment into calls of package rotation, and what comes
// of them into metrics. It rotates nothing itself.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/logging"
	"github.com/credproxy/credproxy/wiring"
)

var version = "dev" // set by the linker

// startTimeout bounds the loading of the AWS configuration.
const startTimeout = 10 * time.Second

func main() {
	log, _ := logging.New(os.Getenv("LOG_LEVEL"), "json", os.Stderr)
	f, err := start(os.LookupEnv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "credproxy-rotation: %v\n", err)
		os.Exit(1)
	}
	log.Info("rotation function started", zap.String("version", version))
	f.rotation.Log = log
	lambda.Start(f.handle)
}

// start makes the function that the environment describes.
func start(lookup func(string) (string, bool)) (*function, error) {
	env, err := readEnvironment(lookup)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	r, err := wiring.NewRotation(ctx, env.settings, env.link, "", env.endpoint, nil)
	if err != nil {
		return nil, err
	}
	return &function{rotation: r, out: os.Stdout}, nil
}
