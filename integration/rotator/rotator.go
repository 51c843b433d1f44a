// Package rotator rotates the secret of a database user as the rotation functions
// do that AWS publishes for RDS (github.com/aws-samples/aws-secrets-manager-rotation-lambdas):
// createSecret, setSecret, testSecret, finishSecret, for one user or for two that
// take turns.
//
// credproxy has a rotation function of its own (package rotation), which the demo and
// the tests of integration/rotation run. This one stays for the tests of credproxy, with
// no code of the other's: what they show holds for whoever keeps to AWS's order of steps,
// and a fault of one is not hidden by the same fault in the other. It also makes states
// that our function avoids or refuses: MySQL loses the old password at once, and a user
// may be given any password at any time, between steps too.
//
// A rotation may be stopped or held after any step, so that each state a rotation
// passes through can be looked at; running it again with the same version id goes
// on from there, as AWS retries. What is in Secrets Manager and in the database is
// real: the package calls Secrets Manager over HTTP with AWS's SDK.
//
// It has no schedule, and it gives no rights to the second user: AWS's function
// clones a user that is missing, here both must exist.
package rotator

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// Step is one of the four calls that Secrets Manager makes to a rotation function.
type Step string

// The steps, in their order.
const (
	Create Step = "createSecret" // AWSPENDING gets a new password
	Set    Step = "setSecret"    // the database wants it from now on
	Test   Step = "testSecret"   // a login with it
	Finish Step = "finishSecret" // AWSCURRENT moves to it
)

// Steps returns the steps in their order.
func Steps() []Step { return []Step{Create, Set, Test, Finish} }

// Database is where the user lives.
type Database interface {
	SetPassword(ctx context.Context, user, password string) error
	Login(ctx context.Context, user, password string) error
}

// Rotator rotates one secret.
type Rotator struct {
	Secrets  *sm.Client
	SecretID string // name or ARN
	Database Database
	// Alternating rotates the user who is not current; the two are called NAME
	// and NAME_clone. Otherwise there is one user.
	Alternating bool
	// After, unless nil, is called after each step. It may wait, to hold the
	// state that the step has left, and its error fails the rotation there.
	After func(context.Context, Step) error
}

// Pause is an After that waits for d after each of the steps.
func Pause(d time.Duration, steps ...Step) func(context.Context, Step) error {
	return func(ctx context.Context, done Step) error {
		for _, step := range steps {
			if step == done {
				return Wait(ctx, d)
			}
		}
		return nil
	}
}

// Wait waits for d, or until ctx ends and then returns why.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Rotate rotates the secret to the version of that id, which AWS calls the
// client request token: 32 to 64 characters, such as awsstub's BeginRotation
// returns, or a UUID. Steps that an earlier Rotate with the same id has done are
// not done twice.
func (r *Rotator) Rotate(ctx context.Context, versionID string) error {
	for _, step := range Steps() {
		if err := r.run(ctx, step, versionID); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
		if r.After == nil {
			continue
		}
		if err := r.After(ctx, step); err != nil {
			return fmt.Errorf("after %s: %w", step, err)
		}
	}
	return nil
}

func (r *Rotator) run(ctx context.Context, step Step, versionID string) error {
	switch step {
	case Create:
		return r.create(ctx, versionID)
	case Finish:
		return r.finish(ctx, versionID)
	}
	pending, err := r.get(ctx, awsstub.Pending, versionID)
	if err != nil {
		return err
	}
	user, password := pending.text("username"), pending.text("password")
	err = r.Database.Login(ctx, user, password)
	if step == Set && err != nil { // not set already, by a try that failed later
		return r.Database.SetPassword(ctx, user, password)
	}
	return err
}

// create puts a new password under AWSPENDING.
func (r *Rotator) create(ctx context.Context, versionID string) error {
	if _, err := r.get(ctx, awsstub.Pending, versionID); err == nil {
		return nil
	} else if _, missing := errors.AsType[*types.ResourceNotFoundException](err); !missing {
		return err
	}
	doc, err := r.get(ctx, awsstub.Current, "")
	if err != nil {
		return err
	}
	doc["password"] = rand.Text()
	if r.Alternating {
		doc["username"] = otherUser(doc.text("username"))
	}
	value, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	_, err = r.Secrets.PutSecretValue(ctx, &sm.PutSecretValueInput{
		SecretId: &r.SecretID, ClientRequestToken: &versionID,
		SecretString: aws.String(string(value)), VersionStages: []string{awsstub.Pending},
	})
	return err
}

// finish moves AWSCURRENT. AWSPENDING stays where it is, as AWS's functions
// leave it.
func (r *Rotator) finish(ctx context.Context, versionID string) error {
	secret, err := r.Secrets.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &r.SecretID})
	if err != nil {
		return err
	}
	for id, stages := range secret.VersionIdsToStages {
		for _, stage := range stages {
			if stage != awsstub.Current || id == versionID {
				continue
			}
			_, err := r.Secrets.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{
				SecretId: &r.SecretID, VersionStage: aws.String(awsstub.Current),
				MoveToVersionId: &versionID, RemoveFromVersionId: &id,
			})
			return err
		}
	}
	return nil
}

// document is a secret's JSON, of which only user and password change.
type document map[string]any

func (d document) text(key string) string {
	s, _ := d[key].(string)
	return s
}

// get reads the version under a label; with an id, only if it is that one.
func (r *Rotator) get(ctx context.Context, stage, versionID string) (document, error) {
	in := &sm.GetSecretValueInput{SecretId: &r.SecretID, VersionStage: &stage}
	if versionID != "" {
		in.VersionId = &versionID
	}
	out, err := r.Secrets.GetSecretValue(ctx, in)
	if err != nil {
		return nil, err
	}
	var doc document
	if err := json.Unmarshal([]byte(aws.ToString(out.SecretString)), &doc); err != nil {
		return nil, fmt.Errorf("secret is not a JSON object: %w", err)
	}
	return doc, nil
}

// otherUser is the one of the two whose turn it is after user.
func otherUser(user string) string {
	const suffix = "_clone"
	if name, ok := strings.CutSuffix(user, suffix); ok {
		return name
	}
	return user + suffix
}

// AccessKeyID is the key of the clients that Client makes, by which their calls
// can be told from others in the stand-in's log.
const AccessKeyID = "AKIAROTATIONFUNCTION"

// Client makes a client of the stand-in with the key of that id. More clients of
// one stand-in share it.
func Client(server *awsstub.Server) *sm.Client {
	id := awsstub.Identity{
		AccessKeyID: AccessKeyID, SecretAccessKey: "the rotation function signs with this",
		ARN: "arn:aws:iam::" + awsstub.AccountID + ":user/rotation-function",
	}
	server.AddIdentity(id)
	return sm.New(sm.Options{
		BaseEndpoint: aws.String(server.URL()), Region: server.Region(),
		Credentials: credentials.NewStaticCredentialsProvider(id.AccessKeyID, id.SecretAccessKey, ""),
	})
}
