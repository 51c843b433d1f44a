package file

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/credproxy/credproxy/secrets"
)

const (
	// slowPoll is how often Watch looks although the kernel tells of changes: it
	// does not for network file systems or behind some links.
	slowPoll = 30 * time.Second
	// fastPoll is how often it looks when the kernel cannot tell: no inotify
	// instances or watches left, or no directory to watch yet.
	fastPoll = 3 * time.Second
	// pause passes between a change and a look, and between looks.
	pause = 100 * time.Millisecond
	// patience is how many looks a file gets to become whole and still.
	patience = 20
)

// Watch calls changed once when it starts and after each change of what the
// files say, until ctx ends. A change that leaves no credential to be read
// counts after about 2 s, the time a writer has to finish.
func (s *Source) Watch(ctx context.Context, changed func()) error {
	notify, err := s.notify()
	if err != nil { // the limit on inotify instances, say
		notify = new(fsnotify.Watcher) // its nil channels never tell of anything
	} else {
		defer notify.Close()
	}
	var told content
	for {
		interval := slowPoll
		if err != nil || !s.arm(notify) {
			interval = fastPoll
		}
		if now := s.settle(ctx, told); now != told && ctx.Err() == nil {
			told = now
			changed()
		}
		if !wait(ctx, notify, interval) {
			return nil
		}
	}
}

// arm watches the directories in which a change of s.path can show: files are
// replaced by renaming, which only their directory tells of. It does so anew each
// time, because directories are removed and made again.
func (s *Source) arm(notify *fsnotify.Watcher) bool {
	dirs := []string{filepath.Dir(s.path)}
	if target, err := filepath.EvalSymlinks(s.path); err == nil {
		dirs = append(dirs, filepath.Dir(target))
	}
	armed := true
	for _, dir := range dirs {
		armed = notify.Add(dir) == nil && armed
	}
	if info, err := os.Stat(s.path); err == nil && info.IsDir() {
		armed = notify.Add(s.path) == nil && armed
	}
	return armed
}

// content is what a look sees; equal contents mean that nothing changed.
type content struct {
	version  string
	endpoint secrets.Endpoint
	failure  string
}

func (s *Source) look(ctx context.Context) content {
	c, err := s.Fetch(ctx, secrets.Current)
	if err != nil {
		return content{failure: err.Error()}
	}
	return content{version: c.VersionID, endpoint: c.Endpoint}
}

// settle looks until it sees told again, or twice the same credential, so that a
// half-written file or half-replaced directory is not told of. It gives up
// after patience looks and returns what it saw last.
func (s *Source) settle(ctx context.Context, told content) content {
	last := s.look(ctx)
	for range patience {
		if last == told || !sleep(ctx, pause) {
			break
		}
		now := s.look(ctx)
		if now == last && now.failure == "" {
			break
		}
		last = now
	}
	return last
}

// wait returns true a moment after a change, or after interval; false if ctx ends.
func wait(ctx context.Context, notify *fsnotify.Watcher, interval time.Duration) bool {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-quiet:
			return true
		case <-notify.Events:
		case <-notify.Errors: // too many events to hold: something changed
		}
		if quiet == nil { // changes that follow are seen by the same look
			quiet = time.After(pause)
		}
	}
}

// sleep returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
