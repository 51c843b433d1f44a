package lambdastub_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/integration/lambdastub"
)

var bootstrap string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "lambdastub")
	if err != nil {
		panic(err)
	}
	bootstrap = filepath.Join(dir, "bootstrap")
	if out, err := exec.Command("go", "build", "-o", bootstrap, "./testdata/bootstrap").CombinedOutput(); err != nil {
		panic(string(out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

type event struct{ Do string }

func start(t *testing.T, env ...string) *lambdastub.Function {
	t.Helper()
	f, err := lambdastub.Start(bootstrap, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func wantError(t *testing.T, err error, kind, message string) {
	t.Helper()
	var e *lambdastub.Error
	if !errors.As(err, &e) || e.Type != kind || !strings.Contains(e.Message, message) {
		t.Errorf("error %v, want %s: %s", err, kind, message)
	}
}

func TestInvoke(t *testing.T) {
	f := start(t, "GIVEN=this")
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	deadline, _ := ctx.Deadline()
	for range 2 {
		payload, err := f.Invoke(ctx, event{"echo"})
		var got []string
		if err != nil || json.Unmarshal(payload, &got) != nil {
			t.Fatalf("%s, %v", payload, err)
		}
		want := []string{`{"Do":"echo"}`, strconv.FormatInt(deadline.UnixMilli(), 10), lambdastub.FunctionARN, "this", ""}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	_, err := f.Invoke(ctx, event{"fail"})
	wantError(t, err, "Refused", "as asked")
	if payload, err := f.Invoke(ctx, event{"wrong"}); err != nil || string(payload) != "400" {
		t.Errorf("answer to an unknown invocation: %s, %v", payload, err)
	}
	if n, logs := f.Starts(), f.Logs(); n != 1 || logs != "event echo\nevent echo\nevent fail\nevent wrong\n" {
		t.Errorf("%d starts, logs %q", n, logs)
	}
}

func TestProcessThatEnds(t *testing.T) {
	f := start(t)
	ctx := t.Context()
	_, err := f.Invoke(ctx, event{"exit"})
	wantError(t, err, "Runtime.ExitError", "exit status 3")
	if payload, err := f.Invoke(ctx, event{"last"}); err != nil || string(payload) != `"bye"` {
		t.Errorf("%s, %v", payload, err)
	}
	f.Kill() // the process ends by itself too
	f.Kill()
	if _, err := f.Invoke(ctx, event{"echo"}); err != nil {
		t.Error(err)
	}
	f.Kill() // while it waits
	if _, err := f.Invoke(ctx, event{"echo"}); err != nil {
		t.Error(err)
	}
	if n := f.Starts(); n != 4 {
		t.Errorf("%d starts, want 4", n)
	}

	failed := make(chan error)
	go func() {
		_, err := f.Invoke(ctx, event{"hang"})
		failed <- err
	}()
	for !strings.Contains(f.Logs(), "event hang") {
		time.Sleep(time.Millisecond)
	}
	f.Kill()
	wantError(t, <-failed, "Runtime.ExitError", "killed")

	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = f.Invoke(ctx, event{"hang"})
	wantError(t, err, "Sandbox.Timedout", "deadline")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestBrokenFunctions(t *testing.T) {
	f := start(t, "BROKEN=1")
	_, err := f.Invoke(t.Context(), event{"echo"})
	wantError(t, err, "Runtime.Init", "as asked")
	if n := f.Starts(); n > 3 {
		t.Errorf("%d starts", n)
	}
	f.Close()
	f.Close()
	if _, err := f.Invoke(t.Context(), event{"echo"}); err == nil {
		t.Error("a closed function was invoked")
	}
	if _, err := f.Invoke(t.Context(), func() {}); err == nil {
		t.Error("an event without JSON was sent")
	}
	if f, err := lambdastub.Start("/nonexistent", nil); err == nil {
		f.Close()
		t.Error("started without a bootstrap")
	}
}
