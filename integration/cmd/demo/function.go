package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/lambdastub"
)

// functionTimeout is what docs/rotation-setup.md gives the function for one step.
const functionTimeout = time.Minute

// function is the rotation function of one secret: credproxy's own, behind a stand-in
// for Lambda. What it may ask of AWS is what credproxy policy prints for it.
type function struct {
	*lambdastub.Function
	keyID string // by which its calls to AWS are told from others
	calls int
}

// startFunction starts the function and attaches it to the secret.
func (s *stage) startFunction(ctx context.Context, db *database) error {
	policy, err := s.policy(ctx, db)
	if err != nil {
		return err
	}
	allow, err := awsstub.AllowPolicy(policy)
	if err != nil {
		return err
	}
	id := awsstub.Identity{
		AccessKeyID: "AKIAROTATE" + strings.ToUpper(db.name), SecretAccessKey: "the function signs with this", Allow: allow,
		ARN: "arn:aws:sts::" + awsstub.AccountID + ":assumed-role/rotate-" + db.name + "/function",
	}
	s.aws.AddIdentity(id)
	env := append([]string{}, s.aws.Env()...)
	env = append(env, "AWS_ACCESS_KEY_ID="+id.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+id.SecretAccessKey, "TLS_CA_FILE="+db.CAFile())
	f, err := lambdastub.Start(s.binaries.rotation, env)
	if err != nil {
		return err
	}
	db.function = &function{Function: f, keyID: id.AccessKeyID}
	s.aws.EnableRotation(db.secret(), lambdastub.FunctionARN)
	return nil
}

// policy is what credproxy prints for the function's role.
func (s *stage) policy(ctx context.Context, db *database) ([]byte, error) {
	args := []string{"policy", "--for", "rotation", "--kms-key", "none", s.aws.Secret(db.secret()).ARN}
	if db.alternating {
		args = append(args, "--master", s.aws.Secret(db.masterSecret()).ARN)
	}
	out, err := program(ctx, s.binaries.credproxy, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("credproxy policy: %w", err)
	}
	return out, nil
}

// step has the function do a step, as Secrets Manager does.
func (f *function) step(ctx context.Context, e awsstub.RotationEvent) error {
	f.calls++
	ctx, cancel := context.WithTimeout(ctx, functionTimeout)
	defer cancel()
	_, err := f.Invoke(ctx, e)
	return err
}

// refused counts in the function's log the passwords that the database refused it.
func (f *function) refused() int {
	return strings.Count(f.Logs(), `"rotation: the database refused a password"`)
}
