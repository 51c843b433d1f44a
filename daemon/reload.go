package daemon

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/config/change"
	"github.com/credproxy/credproxy/discovery"
	"github.com/credproxy/credproxy/filewatch"
)

// reloader reads the configuration again.
type reloader struct {
	file  string // "": none to watch
	load  func() (*config.Config, error)
	level zap.AtomicLevel // of the log
	named func() []string // other files that the configuration in force names
}

// Why a configuration is read again.
const (
	onSignal = "SIGHUP"
	onChange = "a file changed"
)

// watch sends why to again at each hangup and change of the file, or of one that it
// names, until ctx ends.
// A pipe is not watched: it can be read once.
func (r reloader) watch(ctx context.Context, hangups <-chan os.Signal, again chan<- string) {
	tell := func(why string) {
		select {
		case again <- why:
		case <-ctx.Done():
		}
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if info, err := os.Stat(r.file); err == nil && info.Mode().IsRegular() {
			w := filewatch.Watcher{Path: r.file, Also: r.named, Look: r.look, Changed: func() { tell(onChange) }}
			w.Run(ctx)
		}
	}()
	for {
		select {
		case <-hangups:
			tell(onSignal)
		case <-ctx.Done():
			<-watched
			return
		}
	}
}

// look returns what of the files' state can matter.
func (r reloader) look(context.Context) (seen any, whole bool) {
	b, err := config.Read(r.file)
	if err != nil {
		return err.Error(), false
	}
	sum, whole := filewatch.Sums{}.Of(r.named())
	return string(b) + string(sum[:]), whole && len(b) > 0
}

// read loads the configuration again.
func (r reloader) read() (*config.Config, error) {
	if info, err := os.Stat(r.file); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return nil, config.Invalid(fmt.Errorf("%s is a pipe, which tells what it has once; start credproxy with a file to change its configuration", r.file))
	}
	return r.load()
}

// reload reads the configuration again and applies it. After an error nothing has changed
// but what the log, the metrics and the status say.
func (d *daemon) reload(ctx context.Context, r reloader, why string) {
	before := d.config()
	cfg, err := r.read()
	var outcome *discovery.Outcome
	if err == nil { // what it discovers elsewhere than before is to be there when the rest goes
		d.finder.Want(before, cfg)
		d.finder.First(ctx)
		outcome = d.finder.Complete(cfg)
		cfg = outcome.Config
	}
	if why == onSignal {
		defer d.finder.AskNow() // as the new configuration has it
	}
	last := d.reloaded.Load()
	if err == nil && why == onChange && reflect.DeepEqual(cfg, before) && (last == nil || last.OK) && !d.filesChanged() {
		return // a comment, or what was read at the start; but a mistake that was put right is news
	}
	d.systemd.Reloading()
	defer d.notifyReady()
	if err == nil {
		err = d.apply(ctx, outcome, false, func(error) {}) // the log and the status say which cannot accept
	}
	d.metrics.Reloaded(err == nil)
	d.reloaded.Store(&admin.Reload{At: time.Now().Round(0), OK: err == nil})
	if err != nil {
		d.finder.Want(before)
		d.log.Error("new configuration refused; the old one stays in force", zap.String("because", why), zap.Error(err))
		return
	}
	_ = r.level.UnmarshalText([]byte(cfg.Log.Level))
	for _, key := range change.NeedRestart(before, cfg) {
		d.log.Warn("changed in the configuration, but for the next start only", zap.String("key", key))
	}
	added, changed, removed := change.Difference(before, cfg)
	d.log.Info("new configuration in force", zap.String("because", why),
		zap.Strings("added", added), zap.Strings("changed", changed), zap.Strings("removed", removed))
}
