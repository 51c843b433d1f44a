package check

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
	"github.com/credproxy/credproxy/wiring"
)

// rotationOf adds to s what AWS says about the secret's rotation.
func rotationOf(ctx context.Context, secret *config.SecretsManager, s *Step) {
	out, err := wiring.DescribeSecret(ctx, secret)
	if err != nil {
		s.Result, s.Detail = Warning, s.Detail+"; its rotation cannot be seen: "+awscfg.Plain(err).Error()
		if awscfg.ReasonOf(err) == secrets.Denied {
			s.Advice = "Allow secretsmanager:DescribeSecret on this secret; credproxy policy prints the whole policy."
		}
		return
	}
	if !aws.ToBool(out.RotationEnabled) {
		s.Detail += "; it does not rotate"
	} else {
		s.Detail += "; it rotates"
		if out.NextRotationDate != nil {
			s.Detail += ", next on " + day(*out.NextRotationDate)
			if time.Since(*out.NextRotationDate) > 24*time.Hour {
				s.Result, s.Advice = Warning, "The rotation is overdue: look into the log of the rotation function."
			}
		}
	}
	var current, pending string
	for id, stages := range out.VersionIdsToStages {
		for _, stage := range stages {
			switch secrets.Stage(stage) {
			case secrets.Current:
				current = id
			case secrets.Pending:
				pending = id
			}
		}
	}
	if pending != "" && pending != current {
		s.Result = Warning
		s.Detail += fmt.Sprintf("; version %.8s is AWSPENDING", pending)
		s.Advice = "A rotation is under way, or hangs. credproxy copes with both; if it stays so, look into the log of the rotation function."
	}
}
