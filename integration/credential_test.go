package integration_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// The passwords that follow appPassword; planted too.
const secondPassword, thirdPassword = "planted-second-4tGh", "planted-third-9xWq"

// rotateByHand goes through the states that a single-user rotation leaves secret
// and database in, finished or not, and calls logIn in each. document is the
// secret's text with a password.
func rotateByHand(aws *awsstub.Server, name string, document func(password string) string, setPassword, logIn func(string)) {
	first := aws.Secret(name).Stage(awsstub.Current).ID
	logIn("before any change")

	setPassword(secondPassword)
	aws.PutSecret(name, document(secondPassword))
	logIn("password changed and AWSCURRENT promoted")

	pending := aws.PutSecret(name, document(thirdPassword), awsstub.Pending)
	logIn("AWSPENDING created, not yet set")
	setPassword(thirdPassword)
	logIn("the database is on AWSPENDING, AWSCURRENT is old")
	logIn("the same once more")
	aws.MoveLabel(name, awsstub.Current, pending)
	aws.MoveLabel(name, awsstub.Pending, "")
	logIn("AWSCURRENT promoted")

	setPassword(appPassword)
	aws.MoveLabel(name, awsstub.Current, first)
	logIn("rolled back to the first version, which the database wants again")
}

// TestPasswordChanges goes through the states that a single-user rotation leaves
// secret and database in, finished or not. In each, the next login works.
func TestPasswordChanges(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	const name = "prod/main"
	aws.CreateSecret(name, secretJSON(pg, "app", appPassword))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + smDatabase("main", name, "tls: "+tlsYAML("", pg.CAFile))},
		appPassword, secondPassword, thirdPassword)
	setPassword := func(password string) {
		t.Helper()
		if err := pg.SetPassword(t.Context(), "app", password); err != nil {
			t.Fatal(err)
		}
	}
	logIn := func(state string) {
		t.Helper()
		if err := w.logIn(t.Context(), w.Addr(t, "main"), "postgres"); err != nil {
			t.Errorf("%s: %v", state, err)
		}
	}
	rotateByHand(aws, name, func(password string) string { return secretJSON(pg, "app", password) }, setPassword, logIn)
	if n := strings.Count(pg.Log(), "password authentication failed"); n > 6 {
		t.Errorf("%d failed logins on the server for 3 changes of the password", n)
	}
}

// TestWrongPassword shows that a password which the database refuses is not
// tried for every client: an account lockout or a log full of failures would
// follow. It is taken up at once when the secret is put right.
func TestWrongPassword(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	const wrong = "planted-wrong-2bNc"
	aws.CreateSecret("prod/main", secretJSON(pg, "app", wrong))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + smDatabase("main", "prod/main", "tls: "+tlsYAML("", pg.CAFile))},
		appPassword, wrong)
	addr := w.Addr(t, "main")
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range 20 {
				if err := w.logIn(t.Context(), addr, "postgres"); !hasCode(err, "28P01") {
					t.Errorf("client is told %v, want the server's refusal", err)
				}
			}
		})
	}
	all.Wait()
	// Logins that began before the first was refused may each have tried once.
	if n := strings.Count(pg.Log(), `password authentication failed for user "app"`); n < 1 || n > 10 {
		t.Errorf("200 clients put %d failed logins on the server", n)
	}
	w.failure(t, "main", `"result":"credential_rejected"`, "Compare the secret with the database")
	if ready, why := w.ready(t); ready || !strings.Contains(why, "refused the credential") {
		t.Errorf("readiness %v: %s", ready, why)
	}
	aws.PutSecret("prod/main", secretJSON(pg, "app", appPassword))
	w.recovers(t, "main", "postgres")
	if ready, why := w.ready(t); !ready {
		t.Errorf("not ready after the repair: %s", why)
	}
}

// TestSecretNamesAnotherHost shows a secret whose host or port is put right
// after logins failed: the held version is not clung to.
func TestSecretNamesAnotherHost(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	good := secretJSON(pg, "app", appPassword)
	aws.CreateSecret("prod/main", strings.Replace(good, `"localhost"`, `"old-cluster.invalid"`, 1))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + smDatabase("main", "prod/main", "tls: "+tlsYAML("", pg.CAFile))}, appPassword)
	w.ours(t, w.refused(t, "main", "postgres"), "57P03", "old-cluster.invalid")
	aws.PutSecret("prod/main", good)
	w.recovers(t, "main", "postgres")
}
