package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// awayKind is a way in which AWS goes away under a credproxy that has a credential.
type awayKind struct {
	name   string
	logged string                                                  // of a failed refresh
	env    func(aws *awsstub.Server) []string                      // nil: a static key
	begin  func(t *testing.T, aws *awsstub.Server)                 // AWS goes
	end    func(t *testing.T, aws *awsstub.Server) *awsstub.Server // and is back
}

// injected is AWS answering every call with a fault.
func injected(name string, kind awsstub.FaultKind, logged string) awayKind {
	return awayKind{name: name, logged: logged,
		begin: func(_ *testing.T, aws *awsstub.Server) { aws.Inject(awsstub.Any, awsstub.Fault{Kind: kind}) },
		end:   func(_ *testing.T, aws *awsstub.Server) *awsstub.Server { aws.ClearFaults(); return aws },
	}
}

var awayIdentity = awsstub.Identity{AccessKeyID: "AKIAPLANTEDSTATIC", SecretAccessKey: secretAccessKey}

var awayKinds = []awayKind{
	injected("throttled", awsstub.Throttle, "ThrottlingException"),
	injected("error500", awsstub.InternalError, "InternalServiceError"),
	injected("error503", awsstub.Unavailable, "503"),
	injected("dropped", awsstub.Drop, "EOF"),
	injected("hanging", awsstub.Hang, "in time"),
	injected("denied", awsstub.AccessDenied, "AccessDeniedException"),
	{name: "refused", logged: "connection refused",
		begin: func(_ *testing.T, aws *awsstub.Server) { aws.Close() },
		end: func(t *testing.T, aws *awsstub.Server) *awsstub.Server {
			return startAWS(t, awsstub.Options{Listen: strings.TrimPrefix(aws.URL(), "http://"), Identities: []awsstub.Identity{awayIdentity}})
		}},
	{name: "role expired", logged: "the AWS credentials have expired", env: (*awsstub.Server).ContainerEnv,
		begin: func(_ *testing.T, aws *awsstub.Server) {
			aws.AddRole(awsstub.Role{ARN: awsstub.TaskRole, Lifetime: -time.Minute})
			for _, call := range aws.Log() {
				if strings.HasPrefix(call.AccessKeyID, "ASIA") {
					aws.ExpireCredentials(call.AccessKeyID)
				}
			}
		},
		end: func(_ *testing.T, aws *awsstub.Server) *awsstub.Server {
			aws.AddRole(awsstub.Role{ARN: awsstub.TaskRole})
			return aws
		}},
}

// TestStoreAway has AWS go away under a credproxy that has logged clients in, in
// each way that there is. Logins go on and credproxy stays ready; what happened to
// the secret meanwhile is taken up within seconds of AWS's return.
func TestStoreAway(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	if err := pg.CreateRole(t.Context(), "app_clone", appPassword); err != nil {
		t.Fatal(err)
	}
	for _, tt := range awayKinds {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			aws := startAWS(t, awsstub.Options{Identities: []awsstub.Identity{awayIdentity}})
			aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
			env := aws.Env()
			if tt.env != nil {
				env = tt.env(aws)
			}
			w := watch(t, sidecar.Options{Env: env, Config: "databases:\n" +
				smDatabase("main", "prod/main", "tls: "+tlsYAML("", pg.CAFile), "rotation: {refresh: 1s}")}, appPassword, secretAccessKey)
			w.recovers(t, "main", "")
			tt.begin(t, aws)
			sidecar.Await(t, "a failed refresh", func() bool { return w.logged("main", "credential not fetched", tt.logged) })
			before := w.failedRefreshes()
			for until := time.Now().Add(2 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
				if got := w.user(t, "main"); got != "app" {
					t.Fatalf("logged in as %s", got)
				}
			}
			if ready, why := w.ready(t); !ready {
				t.Errorf("not ready although the credential serves: %s", why)
			}
			// With refresh at a second the tries are at most so far apart, and half of it on average.
			if n := w.failedRefreshes() - before; n > 20 {
				t.Errorf("%d lines on failed refreshes in 2 s", n)
			}
			aws = tt.end(t, aws)
			if aws.Calls(awsstub.Any) == 0 { // another one: all it had is gone
				aws.CreateSecret("prod/main", secretJSON(pg, "app_clone", appPassword))
			} else {
				aws.PutSecret("prod/main", secretJSON(pg, "app_clone", appPassword))
			}
			sidecar.Await(t, "the rotated credential", func() bool { return w.user(t, "main") == "app_clone" })
			if n := strings.Count(w.Log(), "credential rejected by the database"); n != 0 {
				t.Errorf("the database refused %d logins", n)
			}
		})
	}
}

func (w *watched) failedRefreshes() int { return strings.Count(w.Log(), "credential not fetched") }

// TestNoSuchEndpoint starts where AWS's name cannot be resolved.
func TestNoSuchEndpoint(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	env := append(aws.Env(), "AWS_ENDPOINT_URL=http://no-such-host.invalid:1")
	w := watch(t, sidecar.Options{Env: env, Config: "databases:\n" +
		smDatabase("main", "prod/main", "tls: "+tlsYAML("", pg.CAFile), "limits: {login_timeout: 3s}")}, appPassword)
	w.ours(t, w.refused(t, "main", "postgres"), "57P03", "no database credential could be fetched yet")
	sidecar.Await(t, "the name in the log", func() bool { return w.logged("main", "credential not fetched", "no-such-host.invalid") })
	if ready, _ := w.ready(t); ready {
		t.Error("ready without a credential")
	}
}
