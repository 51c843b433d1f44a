package integration_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
)

// TestCommands runs the scripts in testdata/command, each a story of the command
// line: what is called, its exit status, what it says. They share real servers and
// one AWS; $NAME stands for what newCommandStand gives them.
func TestCommands(t *testing.T) {
	env := newCommandStand(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "command"),
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, env...)
			e.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+e.Getenv("PATH"))
			for i := range 4 {
				port, err := servers.FreePort()
				if err != nil {
					return err
				}
				e.Setenv("PORT"+strconv.Itoa(i+1), strconv.Itoa(port))
			}
			// expand puts the variables into the files of the script.
			return expandFiles(e)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command that must end with a status: exits 2 credproxy run.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND [ARG...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("status %d, want %s", code, args[0])
	}
	if strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), appPassword) {
		ts.Fatalf("a password is shown")
	}
}

func expandFiles(e *testscript.Env) error {
	return filepath.WalkDir(e.WorkDir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(os.Expand(string(text), e.Getenv)), 0o600)
	})
}

// newCommandStand starts what the scripts need and returns the environment that
// names it.
func newCommandStand(t *testing.T) []string {
	aws := startAWS(t, awsstub.Options{Identities: []awsstub.Identity{{
		AccessKeyID: "AKIATESTTESTTESTTEST", SecretAccessKey: secretAccessKey,
		Allow: func(action, resource string) bool {
			return !(action == "secretsmanager:GetSecretValue" && strings.Contains(resource, "prod/denied") ||
				action == "secretsmanager:DescribeSecret" && strings.Contains(resource, "prod/shy"))
		},
	}}})
	verifier, err := servers.StartTokenVerifier(func(user, token string) error {
		if user == "admin" {
			return aws.VerifyDSQLToken(token, dsqlHost, user, nil, time.Now())
		}
		return aws.VerifyRDSToken(token, rdsHost, 5432, user, time.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = verifier.Close() })
	ca, err := pki.NewRSACA("Test authority")
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(l pki.Leaf) *pki.Certificate {
		c, err := ca.Issue(l)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	lasting := pki.Localhost()
	lasting.Names = append(lasting.Names, dsqlHost)
	lasting.NotAfter = time.Now().AddDate(1, 0, 0)

	var pg, expired *servers.Postgres
	var my *servers.MySQL
	var starting sync.WaitGroup
	start := func(f func() error) {
		starting.Go(func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		})
	}
	start(func() (err error) {
		pg, err = servers.StartPostgres(t.Context(), servers.PostgresOptions{Version: 15, IAM: verifier, CA: ca, Certificate: certificate(lasting)})
		if err != nil {
			return err
		}
		t.Cleanup(pg.Stop)
		return errors.Join(pg.CreateRole(t.Context(), "app", appPassword), pg.CreateIAMRole(t.Context(), "tokens"), pg.CreateIAMRole(t.Context(), "admin"),
			pg.Exec(t.Context(), "CREATE ROLE owner; GRANT owner TO app; CREATE ROLE stranger"))
	})
	start(func() (err error) {
		expired, err = servers.StartPostgres(t.Context(), servers.PostgresOptions{Version: 15, CA: ca, Certificate: certificate(pki.Expired())})
		if err != nil {
			return err
		}
		t.Cleanup(expired.Stop)
		return nil
	})
	start(func() (err error) {
		my, err = servers.StartMySQL(t.Context(), servers.MySQLOptions{Flavor: "mariadb", CA: ca}) // with a certificate for a day
		if err != nil {
			return err
		}
		t.Cleanup(my.Stop)
		return my.CreateUser(t.Context(), "app", appPassword, "")
	})
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}

	aws.CreateSecret("prod/denied", secretJSON(pg, "app", appPassword))
	aws.CreateSecret("prod/shy", secretJSON(pg, "app", appPassword))
	aws.CreateSecret("prod/wrong", secretJSON(pg, "app", "wrong-"+appPassword))
	aws.CreateSecret("prod/bare", strings.Replace(secretJSON(pg, "app", appPassword), `"dbname":"postgres"`, `"ssl":true`, 1))
	aws.CreateSecret("prod/malformed", `{"user": "app"}`)
	aws.CreateSecret("prod/rotating", secretJSON(pg, "app", "old-"+appPassword))
	aws.PutSecret("prod/rotating", secretJSON(pg, "app", appPassword), awsstub.Pending)
	aws.CreateSecret("prod/mysql", mySQLSecret(my, "app", appPassword))
	otherCA, err := pki.NewCA("Another authority")
	if err != nil {
		t.Fatal(err)
	}
	otherFile, err := otherCA.Write(t.TempDir(), "other")
	if err != nil {
		t.Fatal(err)
	}
	env := append(aws.Env(), "GORACE=atexit_sleep_ms=10")
	for name, value := range map[string]string{
		"ARN": aws.CreateSecret("prod/orders", secretJSON(pg, "app", appPassword)), "AWS": strings.TrimPrefix(aws.URL(), "http://"),
		"PG_PORT": fmt.Sprint(pg.Port), "EXPIRED_PORT": fmt.Sprint(expired.Port), "MY_PORT": fmt.Sprint(my.Port),
		"CA": pg.CAFile, "OTHER_CA": otherFile, "RDS_HOST": rdsHost, "DSQL_HOST": dsqlHost,
	} {
		env = append(env, name+"="+value)
	}
	return env
}
