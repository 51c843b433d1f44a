package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/rotation/store"
	"github.com/credproxy/credproxy/secrets"
)

// Strategy says whose password a rotation changes.
type Strategy string

const (
	// Auto is Alternating for a secret that names a master's, else Single.
	Auto Strategy = ""
	// Single changes the password of the one user there is.
	Single Strategy = "single"
	// Alternating gives a new password to the one of two users that is not current.
	Alternating Strategy = "alternating"
)

// Settings are what an operator may say about rotations.
type Settings struct {
	Strategy Strategy
	Master   string // the master's secret, where the secret itself names none (masterarn)
	Owner    string // see account.Change
	AllowMD5 bool
	NoRetain bool // the old password of a single user is not kept, though the server could
	Password PasswordRules
	// DiscardAfter is the age of AWSCURRENT at which a check discards the password before
	// it, which MySQL has kept; 0: the next rotation does.
	DiscardAfter time.Duration
	// WriteTable is a table that checks write a row to and take back; empty: none.
	WriteTable string
}

// Rotation rotates secrets.
type Rotation struct {
	Settings
	Store *store.Store
	// Open returns the server of an engine at an endpoint.
	Open func(secrets.Endpoint) (account.Server, error)
	Log  *zap.Logger
	// Progress hears a line for each thing that was done; nil: nobody does.
	Progress func(line string)
}

// Event is what Secrets Manager calls a rotation function with.
type Event struct {
	Step          Step
	SecretID      string
	Token         string // the version's id
	RotationToken string // for the call that stores the version; not to be logged
}

// Step is one of the four calls.
type Step string

// The steps, in their order.
const (
	Create Step = "createSecret" // AWSPENDING gets a new password
	Set    Step = "setSecret"    // the database takes it
	Test   Step = "testSecret"   // a login with it
	Finish Step = "finishSecret" // AWSCURRENT moves to it
)

// Steps returns the steps in their order.
func Steps() []Step { return []Step{Create, Set, Test, Finish} }

// ParseStep returns the step of that name: createSecret, or create_secret as some
// documents of AWS write it.
func ParseStep(name string) (Step, error) {
	for _, s := range Steps() {
		if snake := strings.ToLower(strings.Replace(string(s), "Secret", "_secret", 1)); name == string(s) || name == snake {
			return s, nil
		}
	}
	return "", fmt.Errorf("unknown step %q: Secrets Manager calls createSecret, setSecret, testSecret and finishSecret", fault.Clip(name))
}

// Run runs one step, as Secrets Manager calls it. It tells the engine, where the secret
// was read.
func (r *Rotation) Run(ctx context.Context, e Event) (engine string, err error) {
	d, err := r.Store.Describe(ctx, e.SecretID)
	if err == nil {
		err = guard(d, e)
	}
	if errors.Is(err, errDone) {
		r.done(e, "nothing to do: the version is AWSCURRENT already")
		return "", nil
	}
	if err == nil {
		engine, err = r.step(ctx, d, e)
	}
	if err != nil {
		return engine, fmt.Errorf("%s of secret %s: %w", e.Step, e.SecretID, explained{err})
	}
	return engine, nil
}

var errDone = errors.New("the version is AWSCURRENT")

// guard is what AWS's templates look at before each step ("Lambda rotation functions" in
// the user guide).
func guard(d *store.Secret, e Event) error {
	labels, known := d.Versions[e.Token]
	switch {
	case !d.RotationEnabled:
		return errors.New("rotation is not enabled for this secret: give it a rotation function and a schedule, or rotate it with credproxy rotate")
	case !known:
		return fmt.Errorf("the secret has no version %s: the token is not one that Secrets Manager gave out for this rotation", e.Token)
	case d.Has(e.Token, secrets.Current):
		return errDone
	case !d.Has(e.Token, secrets.Pending):
		return fmt.Errorf("version %s is not AWSPENDING (its labels: %s): another rotation has begun since, or this one was cancelled", e.Token, strings.Join(labels, ", "))
	}
	return nil
}

// step runs one step of a rotation whose version may not exist yet before createSecret.
func (r *Rotation) step(ctx context.Context, d *store.Secret, e Event) (engine string, err error) {
	t, err := r.load(ctx, d, e)
	if err != nil {
		return "", err
	}
	engine = t.current.cred.Endpoint.Engine
	switch e.Step {
	case Create:
		err = t.create(ctx)
	case Set:
		err = t.set(ctx)
	case Test:
		err = t.test(ctx)
	case Finish:
		err = t.finish(ctx)
	default:
		err = fmt.Errorf("unknown step %q", e.Step)
	}
	return engine, err
}

// done says what a step has done.
func (r *Rotation) done(e Event, what string, fields ...zap.Field) {
	if r.Progress != nil {
		r.Progress(string(e.Step) + ": " + what)
	}
	r.Log.Info("rotation: "+what, append([]zap.Field{zap.Bool("audit", true), zap.String("step", string(e.Step)),
		zap.String("secret", e.SecretID), zap.String("version", e.Token)}, fields...)...)
}

// explained is an error with what to do about it, if package fault knows.
type explained struct{ error }

func (e explained) Unwrap() error { return e.error }

func (e explained) Error() string {
	text := e.error.Error()
	if f, ok := errors.AsType[*fault.Error](e.error); ok && f.Hint != "" && !strings.Contains(text, f.Hint) {
		text += ". " + f.Hint
	}
	return text
}
