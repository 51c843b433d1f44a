package awsstub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// rotationAttempts is how often Secrets Manager calls a function that fails, as far as this server is concerned: AWS
// says "multiple times" and no number.
const rotationAttempts = 5

// steps of a rotation, in their order.
var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// Rotation is what Secrets Manager has its function do for one secret. Its version exists.
type Rotation struct {
	SecretID    string // the ARN
	FunctionARN string
	Token       string   // the version's id
	Steps       []string // the four, or testSecret alone if the caller wants no rotation now

	s *Server
}

// RotationEvent is the event that the function gets, with the JSON of AWS.
type RotationEvent struct {
	Step               string `json:"Step"`
	SecretID           string `json:"SecretId"`
	ClientRequestToken string `json:"ClientRequestToken"`
	RotationToken      string `json:"RotationToken"` // which PutSecretValue may bring along; it is not checked
}

// Event is the one for a step.
func (r Rotation) Event(step string) RotationEvent {
	return RotationEvent{Step: step, SecretID: r.SecretID, ClientRequestToken: r.Token, RotationToken: newVersionID()}
}

// Run has invoke called with each step in turn. A step that fails has all steps repeated with the same token, as Secrets
// Manager does (https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda.html), though five
// times at most and without pauses. It ends when the function has done them all, or rotation was turned off, or the
// version has lost AWSPENDING without being AWSCURRENT, or ctx is done. The error is nil or that of the last attempt.
func (r Rotation) Run(ctx context.Context, invoke func(context.Context, RotationEvent) error) error {
	var err error
	for range rotationAttempts {
		if err = errors.Join(ctx.Err(), r.abandoned()); err != nil {
			return err
		}
		if err = r.attempt(ctx, invoke); err == nil {
			return nil
		}
	}
	return err
}

func (r Rotation) attempt(ctx context.Context, invoke func(context.Context, RotationEvent) error) error {
	for _, step := range r.Steps {
		if err := invoke(ctx, r.Event(step)); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	return nil
}

func (r Rotation) abandoned() error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	sec := r.s.find(r.SecretID)
	switch {
	case sec == nil || !sec.RotationEnabled:
		return errors.New("rotation of the secret was turned off")
	case sec.Stage(Pending) != sec.Version(r.Token) && sec.Stage(Current) != sec.Version(r.Token):
		return errors.New("the version has lost AWSPENDING")
	}
	return nil
}

// EnableRotation attaches a function to a secret, for a rotation every 30 days. None is begun.
func (s *Server) EnableRotation(name, functionARN string) {
	s.onSecret(name, func(sec *Secret, now time.Time) {
		thirty := int64(30)
		sec.RotationEnabled, sec.RotationLambdaARN, sec.RotationRules = true, functionARN, &types.RotationRulesType{AutomaticallyAfterDays: &thirty}
		sec.NextRotation = now.Add(30 * day)
	})
}

// StartRotation is BeginRotation of a secret that has a function, for a test that runs the rotation itself: OnRotate
// hears nothing of it. A rotation that is not complete goes on with its token.
func (s *Server) StartRotation(name string) Rotation {
	var r Rotation
	s.onSecret(name, func(sec *Secret, now time.Time) {
		if !sec.RotationEnabled {
			panic("awsstub: secret " + name + " is not enabled for rotation")
		}
		token := newVersionID()
		if v := sec.incomplete(); v != nil {
			token = v.ID
		} else {
			sec.begin(token, now)
		}
		r = s.rotation(sec, token, steps)
	})
	return r
}

// OnRotate has f called with each rotation that RotateSecret starts or reattempts, one at a time for a secret, on a
// goroutine of its own. The context is done when the server closes, which waits for f. It replaces an earlier f.
//
//	s.OnRotate(func(ctx context.Context, r awsstub.Rotation) { errs <- r.Run(ctx, invoke) })
func (s *Server) OnRotate(f func(ctx context.Context, r Rotation)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks.onRotate = f
}

// AwaitRotations returns when OnRotate's function has returned from each call so far. Nothing may start another meanwhile.
func (s *Server) AwaitRotations() { s.hooks.rotations.Wait() }

func (s *Server) rotation(sec *Secret, token string, steps []string) Rotation {
	return Rotation{SecretID: sec.ARN, FunctionARN: sec.RotationLambdaARN, Token: token, Steps: slices.Clone(steps), s: s}
}

// run has the hook run r after what it runs already for the secret, unless that is the same rotation, and then does what
// is left. s.mu is held.
func (s *Server) run(r Rotation, after func()) {
	f := s.hooks.onRotate
	if f == nil || s.hooks.lifetime.Err() != nil {
		return
	}
	if s.hooks.rotating == nil {
		s.hooks.rotating = make(map[string]running)
	}
	earlier := s.hooks.rotating[r.SecretID]
	if earlier.token == r.Token {
		return
	}
	ended := make(chan struct{})
	s.hooks.rotating[r.SecretID] = running{r.Token, ended}
	s.hooks.rotations.Go(func() {
		defer close(ended)
		if earlier.ended != nil {
			<-earlier.ended
		}
		f(s.hooks.lifetime, r)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.hooks.rotating[r.SecretID].ended == ended {
			delete(s.hooks.rotating, r.SecretID)
		}
		after()
	})
}

// begin makes the version of a rotation, which has no value yet.
func (sec *Secret) begin(id string, now time.Time) {
	v := &Version{ID: id, Created: now}
	sec.Versions = append(sec.Versions, v)
	sec.attach(Pending, v, now)
}

// incomplete is the version of a rotation that has not come to its end, or nil.
func (sec *Secret) incomplete() *Version {
	if v := sec.Stage(Pending); v != sec.Stage(Current) {
		return v
	}
	return nil
}

// rotationEnabled is what DescribeSecret says: nothing, of a secret that never had rotation.
func (sec *Secret) rotationEnabled() *bool {
	if !sec.RotationEnabled && sec.RotationLambdaARN == "" && sec.RotationRules == nil {
		return nil
	}
	enabled := sec.RotationEnabled
	return &enabled
}

// rotateSecret turns rotation on, sets its dates, and begins one: AWSPENDING is on a new version without a value, and
// OnRotate's function hears of it. A secret that another service owns is rotated by that: here, by the test.
func (s *Server) rotateSecret(_ *exchange, in *sm.RotateSecretInput) (any, error) {
	id, err := versionToken(in.ClientRequestToken)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.living(text(in.SecretId))
	if err != nil {
		return nil, err
	}
	lambda, rules := sec.RotationLambdaARN, sec.RotationRules
	if in.RotationLambdaARN != nil {
		lambda = *in.RotationLambdaARN
	}
	if in.RotationRules != nil {
		rules = in.RotationRules
	}
	answer := secretNamed{ARN: sec.ARN, Name: sec.Name, VersionID: id}
	if lambda == "" && sec.OwningService == "" {
		return nil, refuse("InvalidRequestException", "No Lambda rotation function ARN is associated with this secret.")
	}
	every, err := interval(rules)
	if err != nil {
		return nil, err
	}
	if sec.Version(id) != nil {
		return answer, nil // the same request again
	}
	if v := sec.incomplete(); v != nil {
		if sec.RotationEnabled {
			s.run(s.rotation(sec, v.ID, steps), func() {})
		}
		return nil, refuse("InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
	}
	sec.RotationEnabled, sec.RotationLambdaARN, sec.RotationRules = true, lambda, rules
	sec.NextRotation = s.now().Add(every)
	switch {
	case lambda == "":
	case in.RotateImmediately != nil && !*in.RotateImmediately:
		s.tryRotation(sec, id)
	default:
		sec.begin(id, s.now())
		s.run(s.rotation(sec, id, steps), func() {})
	}
	return answer, nil
}

// tryRotation has the function do testSecret alone, on a version that goes away again. Its value is that of AWSCURRENT,
// without which the step could not succeed; AWS does not say. s.mu is held.
func (s *Server) tryRotation(sec *Secret, id string) {
	if s.hooks.onRotate == nil {
		return
	}
	sec.begin(id, s.now())
	v := sec.Version(id)
	if current := sec.Stage(Current); current != nil {
		v.Text, v.Binary = current.Text, current.Binary
	}
	s.run(s.rotation(sec, id, []string{"testSecret"}), func() {
		sec.Versions = slices.DeleteFunc(sec.Versions, func(other *Version) bool { return other == v && sec.Stage(Current) != v })
	})
}

// cancelRotateSecret turns rotation off. A rotation under way keeps its version with AWSPENDING, and is not reattempted.
func (s *Server) cancelRotateSecret(_ *exchange, in *sm.CancelRotateSecretInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.living(text(in.SecretId))
	if err != nil {
		return nil, err
	}
	sec.RotationEnabled, sec.NextRotation = false, time.Time{}
	answer := secretNamed{ARN: sec.ARN, Name: sec.Name}
	if v := sec.incomplete(); v != nil {
		answer.VersionID = v.ID
	}
	return answer, nil
}

func rotationOperations() map[string]operation {
	return map[string]operation{
		"RotateSecret":       onSecret((*Server).rotateSecret),
		"CancelRotateSecret": onSecret((*Server).cancelRotateSecret),
		"GetRandomPassword":  onSecret((*Server).getRandomPassword),
	}
}

// interval is the time between two rotations. Schedules by cron are not understood here.
func interval(rules *types.RotationRulesType) (time.Duration, error) {
	switch {
	case rules == nil:
		return 0, refuse("InvalidParameterException", "You must specify RotationRules.")
	case rules.AutomaticallyAfterDays != nil:
		if n := *rules.AutomaticallyAfterDays; n >= 1 && n <= 1000 {
			return time.Duration(n) * day, nil
		}
		return 0, refuse("InvalidParameterException", "AutomaticallyAfterDays must be 1 to 1000.")
	}
	var n int
	var unit string
	expression := text(rules.ScheduleExpression)
	if _, err := fmt.Sscanf(expression, "rate(%d %s", &n, &unit); err == nil && n >= 1 && n <= 999 {
		switch unit {
		case "hour)", "hours)":
			return time.Duration(n) * time.Hour, nil
		case "day)", "days)":
			return time.Duration(n) * day, nil
		}
	}
	return 0, refuse("InvalidParameterException", "ScheduleExpression %q is not rate(N hours) or rate(N days).", expression)
}
