package file

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/credproxy/credproxy/filewatch"
)

// Without inotify a change is told of within seconds.
func TestWatchPolls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.json")
	put := func(user string) {
		if err := os.WriteFile(path, []byte(`{"username":"`+user+`","password":"p"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("u1")
	synctest.Test(t, func(t *testing.T) {
		source := New(path)
		source.notify = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		done := make(chan error)
		go func() { done <- source.Watch(ctx, func() { calls.Add(1) }) }()

		time.Sleep(time.Second)
		synctest.Wait()
		if calls.Load() != 1 {
			t.Errorf("%d calls at the start, want 1", calls.Load())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls.Load() != 1 {
			t.Errorf("%d calls with nothing changed, want 1", calls.Load())
		}
		put("u2")
		time.Sleep(filewatch.FastPoll + time.Second)
		synctest.Wait()
		if calls.Load() != 2 {
			t.Errorf("%d calls after a change, want 2", calls.Load())
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(filewatch.FastPoll + filewatch.Patience*filewatch.Pause + time.Second)
		synctest.Wait()
		if calls.Load() != 3 {
			t.Errorf("%d calls after the file went, want 3", calls.Load())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
