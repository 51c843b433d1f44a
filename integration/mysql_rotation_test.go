package integration_test

import (
	"sync"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestMySQLPasswordChanges goes through the states that a single-user rotation
// leaves secret and database in, as TestPasswordChanges does. In each, the next
// login works, and so does a change of user on a session from before.
func TestMySQLPasswordChanges(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		my := newMySQL(t, servers.MySQLOptions{Flavor: flavor})
		aws := startAWS(t, awsstub.Options{})
		const name = "prod/main"
		aws.CreateSecret(name, mySQLSecret(my, "app", appPassword))
		w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + mySQLEntry("main", name, "engine: "+flavor, "tls: "+tlsYAML("", my.CAFile))},
			appPassword, secondPassword, thirdPassword)
		setPassword := func(password string) {
			t.Helper()
			if err := my.SetPassword(t.Context(), "app", password); err != nil {
				t.Fatal(err)
			}
		}
		old := rawLogin(t, w.Addr(t, "main"), mysqlHello{caps: usualCaps, charset: 45, user: "anybody", plugin: "mysql_native_password"})
		logIn := func(state string) {
			t.Helper()
			if err := w.mySQL(t, "main", ""); err != nil {
				t.Errorf("%s: %v", state, err)
			}
			if end := old.changeUser("somebody", "app"); end[0] != 0 {
				t.Errorf("%s: change of user: %s", state, mysqlError(end))
			}
		}
		rotateByHand(aws, name, func(password string) string { return mySQLSecret(my, "app", password) }, setPassword, logIn)
		if n := mySQLStatus(t, my, "Aborted_connects"); n > 6 {
			t.Errorf("%d failed logins on the server for 3 changes of the password", n)
		}
	})
}

// TestMySQLWrongPassword shows that a password which the database refuses is not
// tried for every client, and that another one is taken up when it is there.
func TestMySQLWrongPassword(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		my := newMySQL(t, servers.MySQLOptions{Flavor: flavor})
		aws := startAWS(t, awsstub.Options{})
		const wrong = "planted-wrong-2bNc"
		arn := aws.CreateSecret("prod/main", mySQLSecret(my, "app", wrong))
		w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + mySQLEntry("main", arn, "tls: "+tlsYAML("", my.CAFile))}, appPassword, wrong)
		w.Addr(t, "main")
		const clients, each = 10, 20
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for range each {
					if err := w.mySQL(t, "main", ""); mySQLCode(err) != "1045 28000" {
						t.Errorf("client is told %v, want the server's refusal", err)
					}
				}
			})
		}
		all.Wait()
		// Logins that began before the first was refused may each have tried once, and
		// one is credproxy's own.
		if n := mySQLStatus(t, my, "Aborted_connects"); n < 1 || n > clients+1 {
			t.Errorf("%d clients put %d failed logins on the server", clients*each, n)
		}
		failed := mySQLStatus(t, my, "Aborted_connects")
		sendAll(t, w.Addr(t, "main"), 40, probes[:8])
		if n := mySQLStatus(t, my, "Aborted_connects"); n != failed {
			t.Errorf("%d failed logins on the server for probes of the port", n-failed)
		}
		if n := aws.Calls("GetSecretValue"); n > 30 {
			t.Errorf("they put %d calls on the store of secrets", n)
		}
		aws.PutSecret("prod/main", mySQLSecret(my, "app", appPassword))
		w.mySQLRecovers(t, "main", "")
	})
}
