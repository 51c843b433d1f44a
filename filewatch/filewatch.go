package filewatch

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// slowPoll is how often Watch looks although the kernel tells of changes: it
	// does not for network file systems or behind some links.
	slowPoll = 30 * time.Second
	// FastPoll is how often it looks when the kernel cannot tell: no inotify
	// instances or watches left, or no directory to watch yet.
	FastPoll = 3 * time.Second
	// Pause passes between a change and a look, and between looks.
	Pause = 100 * time.Millisecond
	// Patience is how many looks a file gets to become whole and still.
	Patience = 20
)

// Watcher tells of changes of a file, or of the files in a directory, however they
// are made: in place, by renaming, or by swapping a symlink on the way.
type Watcher struct {
	Path string
	Also func() []string // paths of other files that Look looks at; nil: none
	// Look returns what is to be compared, and whether the file is whole.
	Look    func(context.Context) (seen any, whole bool)
	Changed func()

	Notify func() (*fsnotify.Watcher, error) // nil: fsnotify's
}

// Run calls Changed once when it starts and after each change, until ctx ends. A
// change to what is not whole counts after about 2 s.
func (w *Watcher) Run(ctx context.Context) {
	if w.Notify == nil {
		w.Notify = fsnotify.NewWatcher
	}
	notify, err := w.Notify()
	if err != nil { // the limit on inotify instances, say
		notify = new(fsnotify.Watcher) // its nil channels never tell of anything
	} else {
		defer notify.Close()
	}
	var told any
	for {
		interval := slowPoll
		if err != nil || !w.arm(notify) {
			interval = FastPoll
		}
		if now := w.settle(ctx, told); now != told && ctx.Err() == nil {
			told = now
			w.Changed()
		}
		if !wait(ctx, notify, interval) {
			return
		}
	}
}

// arm watches the directories in which a change can show: files are replaced by
// renaming, which only their directory tells of. It does so anew each time, because
// directories are removed and made again, and other files are looked at.
func (w *Watcher) arm(notify *fsnotify.Watcher) bool {
	paths := []string{w.Path}
	if w.Also != nil {
		paths = append(paths, w.Also()...)
	}
	dirs := map[string]bool{}
	for _, path := range paths {
		dirs[filepath.Dir(path)] = true
		if target, err := filepath.EvalSymlinks(path); err == nil {
			dirs[filepath.Dir(target)] = true
		}
	}
	if info, err := os.Stat(w.Path); err == nil && info.IsDir() {
		dirs[filepath.Clean(w.Path)] = true
	}
	armed := true
	for dir := range dirs {
		armed = notify.Add(dir) == nil && armed
	}
	for _, watched := range notify.WatchList() {
		if !dirs[watched] {
			_ = notify.Remove(watched)
		}
	}
	return armed
}

// settle looks until it sees told again, or twice the same that is whole, so that
// a half-written file or half-replaced directory is not told of. It gives up after
// patience looks and returns what it saw last.
func (w *Watcher) settle(ctx context.Context, told any) any {
	last, _ := w.Look(ctx)
	for range Patience {
		if last == told || !sleep(ctx, Pause) {
			break
		}
		now, whole := w.Look(ctx)
		if now == last && whole {
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
			quiet = time.After(Pause)
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
