package sidecar

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// Main is a TestMain: it has build put programs into a folder of their own, runs the tests,
// and exits.
func Main(m *testing.M, build func(ctx context.Context, dir string) error) {
	dir, err := os.MkdirTemp("", "credproxy-test")
	if err == nil {
		err = build(context.Background(), dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// Built is a build for [Main] of credproxy alone, whose path it puts into binary.
func Built(binary *string) func(ctx context.Context, dir string) error {
	return func(ctx context.Context, dir string) (err error) {
		*binary, err = Build(ctx, dir)
		return err
	}
}
