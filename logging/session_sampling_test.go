package logging

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestSampled has a storm of 1,000 sessions write to the log in one second.
func TestSampled(t *testing.T) {
	for level, want := range map[zapcore.Level]int{zap.InfoLevel: 109, zap.DebugLevel: 1000} {
		synctest.Test(t, func(t *testing.T) {
			core, lines := observer.New(level)
			log := zap.New(core)
			session := Sampled(log)
			for n := range 1000 {
				session.With(zap.Int("session", n)).Info("session started")
			}
			session.Error("session failed")
			if got := lines.FilterMessage("session started").Len(); got != want {
				t.Errorf("at level %s: %d lines of 1,000, want %d", level, got, want)
			}
			if lines.FilterMessage("session failed").Len() != 1 {
				t.Error("another message is lost with them")
			}
			for n := range 1000 {
				log.Info(fmt.Sprint("credential ", n))
				log.Info("credential")
			}
			if got := lines.FilterMessage("credential").Len(); got != 1000 {
				t.Errorf("%d lines of other kinds, want all 1,000", got)
			}
			time.Sleep(time.Second)
			session.Info("session started")
			if got := lines.FilterMessage("session started").Len(); got != want+1 {
				t.Error("the storm is over and nothing is said")
			}
		})
	}
}

// TestSampledFollowsTheLevel: the level can change while sessions come.
func TestSampledFollowsTheLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		level := zap.NewAtomicLevelAt(zap.DebugLevel)
		core, lines := observer.New(level)
		session := Sampled(zap.New(core)).With(zap.Int("session", 1))
		for _, step := range []struct {
			level zapcore.Level
			want  int
		}{{zap.DebugLevel, 1000}, {zap.InfoLevel, 109}, {zap.DebugLevel, 1000}} {
			level.SetLevel(step.level)
			for range 1000 {
				session.Info("session started")
			}
			if got := len(lines.TakeAll()); got != step.want {
				t.Errorf("at level %s: %d lines of 1,000, want %d", step.level, got, step.want)
			}
			time.Sleep(time.Second)
		}
	})
}
