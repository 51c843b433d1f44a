package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/env"
)

// checksAtOnce is how many databases are walked at a time.
const checksAtOnce = 8

// The results of a step.
const (
	OK      = "ok"
	Warning = "warning"
	Failed  = "failed"
	Skipped = "skipped" // needs one that failed
)

// Step is one line of a check.
type Step struct {
	Name   string `json:"step"`
	Result string `json:"result"` // ok, warning, failed or skipped
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"` // what to do about it
}

// Report is the check of one database.
type Report struct {
	Database string `json:"database"`
	OK       bool   `json:"ok"` // nothing failed
	Steps    []Step `json:"steps"`
}

// Misconfigured reports whether the configuration, or what it names, is at fault.
func (r Report) Misconfigured() bool { return r.Steps[0].Result == Failed }

// Run checks the databases, some at a time, and reports in the order of the
// configuration: first what it discovers, whose databases are checked, too.
func Run(ctx context.Context, cfg *config.Config) []Report {
	cfg, found := discover(ctx, cfg)
	all := make([]Report, len(cfg.Databases))
	var vars env.Variables
	var g errgroup.Group
	g.SetLimit(checksAtOnce)
	for i := range cfg.Databases {
		g.Go(func() error { all[i] = checkDatabase(ctx, &cfg.Databases[i], &vars); return nil })
	}
	_ = g.Wait()
	return append(found, all...)
}

func fine(format string, args ...any) Step {
	return Step{Result: OK, Detail: fmt.Sprintf(format, args...)}
}

// failure is a step that failed with err: what the clients of a fault.Error hear,
// and beside it the cause, which is for operators.
func failure(err error) Step {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		s := Step{Result: Failed, Detail: e.Message, Advice: e.Hint}
		if e.Err != nil {
			s.Detail += " (" + e.Err.Error() + ")"
		}
		return s
	}
	s := Step{Result: Failed, Detail: err.Error(), Advice: fault.As(err).Hint}
	// Sources put their advice behind what happened.
	if at := strings.LastIndex(s.Detail, "; "); at > 0 {
		s.Detail, s.Advice = s.Detail[:at], strings.ToUpper(s.Detail[at+2:at+3])+s.Detail[at+3:]+"."
	} else if secrets.ReasonOf(err) == secrets.Malformed {
		s.Advice = "A secret of a database is a JSON object with username and password; for one that holds many, set keys."
	}
	return s
}
