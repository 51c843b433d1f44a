package check

import (
	"context"
	"fmt"
	"strings"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/discovery"
)

// discover asks AWS for the databases that cfg discovers, and reports how each account
// answered.
func discover(ctx context.Context, cfg *config.Config) (complete *config.Config, all []Report) {
	if len(cfg.Discover) == 0 {
		return cfg, nil
	}
	complete, accounts := discovery.Once(ctx, cfg)
	for _, a := range accounts {
		step := fine("%d served, %d not", a.Databases, len(a.Left))
		switch {
		case a.Err != nil:
			step = Step{Result: Failed, Detail: a.Err.Error(), Advice: "credproxy policy prints what its role must be allowed."}
		case len(a.Left) > 0:
			step.Result = Warning
			step.Detail += ": " + strings.Join(a.Left, "; ")
			step.Advice = "Narrow them by tags, or attach a secret to those that you want."
		}
		step.Name = "discovery"
		configured := fine("what is in the file holds")
		configured.Name = "configuration"
		all = append(all, Report{Database: fmt.Sprintf("discover (%s)", a), OK: step.Result != Failed, Steps: []Step{configured, step}})
	}
	return complete, all
}
