package file_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/file"
)

// watched follows a source: each call of changed fetches, as the cache does.
type watched struct {
	t     *testing.T
	users chan string // the user name fetched after each call, or the error's reason
}

func watch(t *testing.T, path string) *watched {
	t.Helper()
	source := file.New(path)
	w := &watched{t, make(chan string, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- source.Watch(ctx, func() {
			c, err := source.Fetch(ctx, secrets.Current)
			if err != nil {
				w.users <- string(secrets.ReasonOf(err))
				return
			}
			w.users <- c.Username
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return w
}

// next wants the next call of changed to find user.
func (w *watched) next(user string) {
	w.t.Helper()
	select {
	case got := <-w.users:
		if got != user {
			w.t.Fatalf("told of %q, want %q", got, user)
		}
	case <-time.After(10 * time.Second): // far below slowPoll: events did it
		w.t.Fatalf("not told of %q", user)
	}
}

func replace(t *testing.T, path, content string) {
	t.Helper()
	write(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func TestWatchFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "orders.json")
	write(t, path, document("u1"))
	w := watch(t, path)
	w.next("u1")
	write(t, path, document("u2")) // in place
	w.next("u2")
	replace(t, path, document("u3"))
	w.next("u3")
	remove(t, path)
	w.next("not_found")
	write(t, path, document("u4"))
	w.next("u4")
	write(t, path, document("u5")) // the new file is watched, not the old one
	w.next("u5")
}

func TestWatchWaitsForTheRestOfAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "orders.json")
	write(t, path, document("u1"))
	w := watch(t, path)
	w.next("u1")
	half := document("u2")[:20]
	write(t, path, half)
	time.AfterFunc(500*time.Millisecond, func() { _ = os.WriteFile(path, []byte(document("u2")), 0o600) })
	w.next("u2") // and never "malformed"
}

func TestWatchTellsOfAFileThatStaysBroken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "orders.json")
	write(t, path, document("u1"))
	w := watch(t, path)
	w.next("u1")
	write(t, path, "{")
	w.next("malformed")
	write(t, path, document("u2"))
	w.next("u2")
}

func TestWatchKubernetesMount(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a directory of fields", "a file in it"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "mount")
			path := dir
			version := func(v, user string) {
				write(t, filepath.Join(dir, v, "username"), user)
				write(t, filepath.Join(dir, v, "password"), password)
				write(t, filepath.Join(dir, v, "orders.json"), document(user))
			}
			if name == "a file in it" {
				path = filepath.Join(dir, "orders.json")
			}
			version("..1", "u1")
			mountAsKubernetes(t, dir, "..1")
			w := watch(t, path)
			w.next("u1")
			for _, swap := range []struct{ old, new, user string }{{"..1", "..2", "u2"}, {"..2", "..3", "u3"}} {
				version(swap.new, swap.user)
				link(t, swap.new, filepath.Join(dir, "..data"))
				remove(t, filepath.Join(dir, swap.old))
				w.next(swap.user)
			}
		})
	}
}

func TestWatchDirectoryRemovedAndMadeAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "db")
	both := func(user string) {
		write(t, filepath.Join(dir, "username"), user)
		write(t, filepath.Join(dir, "password"), password)
	}
	both("u1")
	w := watch(t, dir)
	w.next("u1")
	remove(t, dir)
	w.next("not_found")
	both("u2")
	w.next("u2")
	both("u3")
	w.next("u3")
}

func TestWatchBeforeThereIsADirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "later", "orders.json")
	w := watch(t, path)
	w.next("not_found")
	write(t, path, document("u1"))
	w.next("u1") // by polling: nothing could be watched
	replace(t, path, document("u2"))
	w.next("u2")
}

// A file linked to from elsewhere changes in a directory that is not path's own.
func TestWatchLinkedFile(t *testing.T) {
	t.Parallel()
	target := filepath.Join(t.TempDir(), "real.json")
	write(t, target, document("u1"))
	path := filepath.Join(t.TempDir(), "orders.json")
	link(t, target, path)
	w := watch(t, path)
	w.next("u1")
	replace(t, target, document("u2"))
	w.next("u2")
}

func TestWatchIsQuietWithoutAChange(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "orders.json")
	write(t, path, document("u1"))
	w := watch(t, path)
	w.next("u1")
	write(t, filepath.Join(filepath.Dir(path), "other"), "x")
	replace(t, path, document("u1")+"\n")
	replace(t, path, document("u2"))
	w.next("u2") // the first call since u1
}
