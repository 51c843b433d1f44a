package rotator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/rotator"
	"github.com/credproxy/credproxy/integration/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const firstPassword = "first"

// setup starts both sides: a database with app and app_clone, and a secret that
// names app.
func setup(t *testing.T, db rotator.Database, alternating bool) (*awsstub.Server, *rotator.Rotator) {
	t.Helper()
	for _, user := range []string{"app", "app_clone"} {
		if err := db.SetPassword(t.Context(), user, firstPassword); err != nil {
			t.Fatal(err)
		}
	}
	aws, err := awsstub.Start(awsstub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(aws.Close)
	arn := aws.CreateSecret("s", fmt.Sprintf(`{"username":"app","password":%q}`, firstPassword))
	return aws, &rotator.Rotator{Secrets: rotator.Client(aws), SecretID: arn, Database: db, Alternating: alternating}
}

// TestRotator runs on each kind of database what is the same on all.
func TestRotator(t *testing.T) {
	start := map[string]func(*testing.T) rotator.Database{"postgres": startPostgres}
	for _, flavor := range servers.MySQLFlavors() {
		start[flavor] = func(t *testing.T) rotator.Database { return startMySQL(t, flavor) }
	}
	for name, start := range start {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := start(t)
			t.Run("rotation", func(t *testing.T) { testRotation(t, db) })
			t.Run("failure and retry", func(t *testing.T) { testFailureAndRetry(t, db) })
			t.Run("errors name the step", func(t *testing.T) { testErrorsNameTheStep(t, db) })
		})
	}
}

func startMySQL(t *testing.T, flavor string) rotator.Database {
	t.Helper()
	db := rotator.MySQL{MySQL: servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor})}
	for _, user := range []string{"app", "app_clone"} {
		if err := db.CreateUser(t.Context(), user, firstPassword, ""); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func startPostgres(t *testing.T) rotator.Database {
	t.Helper()
	db := rotator.Postgres{Postgres: servers.RunPostgres(t, servers.PostgresOptions{Version: 15})}
	for _, user := range []string{"app", "app_clone"} {
		if err := db.CreateRole(t.Context(), user, firstPassword); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// labelled is what a label holds: the user and whether the database takes the
// password.
func labelled(t *testing.T, aws *awsstub.Server, db rotator.Database, label string) (user string, accepted bool) {
	t.Helper()
	v := aws.Secret("s").Stage(label)
	if v == nil || v.Text == nil {
		return "", false
	}
	var doc struct{ Username, Password string }
	if err := json.Unmarshal([]byte(*v.Text), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Username, db.Login(t.Context(), doc.Username, doc.Password) == nil
}

func testRotation(t *testing.T, db rotator.Database) {
	tests := []struct {
		alternating bool
		users       []string // after each rotation
		previous    bool     // AWSPREVIOUS still logs in
	}{
		{false, []string{"app", "app", "app"}, false},
		{true, []string{"app_clone", "app", "app_clone"}, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("alternating=%v", tt.alternating), func(t *testing.T) {
			aws, r := setup(t, db, tt.alternating)
			for i, want := range tt.users {
				if err := r.Rotate(t.Context(), aws.BeginRotation("s")); err != nil {
					t.Fatalf("rotation %d: %v", i, err)
				}
				if user, ok := labelled(t, aws, db, awsstub.Current); user != want || !ok {
					t.Errorf("rotation %d: AWSCURRENT is %s, accepted: %v", i, user, ok)
				}
				if user, ok := labelled(t, aws, db, awsstub.Previous); ok != tt.previous {
					t.Errorf("rotation %d: AWSPREVIOUS is %s, accepted: %v", i, user, ok)
				}
			}
		})
	}
}

// A rotation stops after any step in the state AWS describes, and goes on from
// there when it is tried again.
func testFailureAndRetry(t *testing.T, db rotator.Database) {
	type state struct{ current, pending bool } // does the database accept it
	singleUser := map[rotator.Step]state{
		rotator.Create: {true, false},
		rotator.Set:    {false, true},
		rotator.Test:   {false, true},
		rotator.Finish: {true, true}, // the same version
	}
	broken := errors.New("broken")
	for _, alternating := range []bool{false, true} {
		for _, at := range rotator.Steps() {
			t.Run(fmt.Sprintf("alternating=%v after %s", alternating, at), func(t *testing.T) {
				aws, r := setup(t, db, alternating)
				r.After = func(_ context.Context, step rotator.Step) error {
					if step == at {
						return broken
					}
					return nil
				}
				id := aws.BeginRotation("s")
				if err := r.Rotate(t.Context(), id); !errors.Is(err, broken) {
					t.Fatalf("error %v", err)
				}
				want := singleUser[at]
				want.current = want.current || alternating
				var got state
				_, got.current = labelled(t, aws, db, awsstub.Current)
				_, got.pending = labelled(t, aws, db, awsstub.Pending)
				if got != want {
					t.Errorf("accepted: %+v, want %+v", got, want)
				}
				value := aws.Secret("s").Version(id).Text

				r.After = nil
				if err := r.Rotate(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				v := aws.Secret("s").Stage(awsstub.Current)
				if v.ID != id || *v.Text != *value {
					t.Errorf("AWSCURRENT is %s, want %s with the first try's password", v.ID, id)
				}
				if _, ok := labelled(t, aws, db, awsstub.Current); !ok {
					t.Error("the database refuses AWSCURRENT")
				}
			})
		}
	}
}

func testErrorsNameTheStep(t *testing.T, db rotator.Database) {
	tests := []struct {
		name, want string
		spoil      func(*awsstub.Server, *rotator.Rotator)
	}{
		{"no secret", "createSecret: ", func(_ *awsstub.Server, r *rotator.Rotator) { r.SecretID = "other" }},
		{"no user", "setSecret: ", func(aws *awsstub.Server, _ *rotator.Rotator) {
			aws.PutSecret("s", `{"username":"nobody","password":"x"}`)
		}},
		{"labels may not be moved", "finishSecret: ", func(aws *awsstub.Server, _ *rotator.Rotator) {
			aws.Inject("UpdateSecretVersionStage", awsstub.Fault{Kind: awsstub.AccessDenied})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			aws, r := setup(t, db, false)
			tt.spoil(aws, r)
			err := r.Rotate(t.Context(), aws.BeginRotation("s"))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %s…", err, tt.want)
			}
		})
	}
}

func TestPause(t *testing.T) {
	after := rotator.Pause(time.Hour, rotator.Set, rotator.Test)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var held []rotator.Step
	for _, step := range rotator.Steps() {
		if err := after(ctx, step); errors.Is(err, context.Canceled) {
			held = append(held, step)
		}
	}
	if !slices.Equal(held, []rotator.Step{rotator.Set, rotator.Test}) {
		t.Errorf("held after %v", held)
	}
}
