package rotation_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// TestManagedMaster has the master's secret be one that RDS manages, which says nothing but
// user and password: its tags lead to the database.
func TestManagedMaster(t *testing.T) {
	for name, cluster := range map[string]bool{"an instance's": false, "a cluster's": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, kinds["postgres 18"](t))
			s.strategy = []string{"--strategy", "alternating"}
			s.policy = []string{"--describe-databases"}
			host, port, _ := net.SplitHostPort(s.addr())
			number, err := strconv.Atoi(port)
			must(t, err)
			s.aws.PutSecret(masterSecret, `{"username":"master","password":"`+masterPassword+`"}`)
			f := s.lambda(t)
			r := s.aws.StartRotation(s.secret)
			if err := once(t.Context(), r, f); err == nil || !strings.Contains(err.Error(), "has no tag of RDS") {
				t.Errorf("without a tag: %v", err)
			}
			if cluster {
				s.aws.AddDBCluster(awsstub.DBCluster{Identifier: "main", Endpoint: host, Port: number, Engine: "aurora-postgresql"})
				s.aws.SetTag(masterSecret, "aws:rds:primaryDBClusterArn", "arn:aws:rds:eu-west-1:"+awsstub.AccountID+":cluster:main")
			} else {
				s.aws.AddDBInstance(awsstub.DBInstance{Identifier: "main", Host: host, Port: number, Engine: "postgres"})
				s.aws.SetTag(masterSecret, "aws:rds:primaryDBInstanceArn", "arn:aws:rds:eu-west-1:"+awsstub.AccountID+":db:main")
			}
			must(t, r.Run(t.Context(), invoker(f)))
			s.settled(t, r.Token)
		})
	}
}

// TestMasterOfReplica has the secret lead to a replica of the database that the master's
// leads to. (Both names are of one server here, which RDS says are two.)
func TestMasterOfReplica(t *testing.T) {
	s := newStand(t, kinds["postgres 18"](t))
	s.strategy = []string{"--strategy", "alternating"}
	s.policy = []string{"--describe-databases"}
	host, port, _ := net.SplitHostPort(s.addr())
	number, err := strconv.Atoi(port)
	must(t, err)
	s.edit(t, masterSecret, `"host":"`+host+`"`, `"host":"localhost"`)
	name, _, _ := strings.Cut(host, ".")
	s.aws.AddDBInstance(awsstub.DBInstance{Identifier: "main", Host: "localhost", Port: number, Engine: "postgres"})
	s.aws.AddDBInstance(awsstub.DBInstance{Identifier: name, Host: host, Port: number, Engine: "postgres"})
	f := s.lambda(t)
	r := s.aws.StartRotation(s.secret)
	if err := once(t.Context(), r, f); err == nil || !strings.Contains(err.Error(), "which is not its replica; nothing was sent there") {
		t.Errorf("of another database: %v", err)
	}
	s.aws.AddDBInstance(awsstub.DBInstance{Identifier: name, Host: host, Port: number, Engine: "postgres", ReplicaSource: "main"})
	must(t, r.Run(t.Context(), invoker(f)))
	s.settled(t, r.Token)
}

// TestRandomPassword has Secrets Manager make the passwords.
func TestRandomPassword(t *testing.T) {
	s := newStand(t, kinds["postgres 15"](t))
	s.strategy = []string{"--strategy", "single"}
	s.policy = []string{"--get-random-password"}
	f := s.lambda(t, "PASSWORD_SOURCE=secretsmanager", "PASSWORD_LENGTH=40", "EXCLUDE_PUNCTUATION=true")
	r := s.aws.StartRotation(s.secret)
	must(t, r.Run(t.Context(), invoker(f)))
	s.settled(t, r.Token)
	if _, password := s.labelled(awsstub.Current); len(password) != 40 || s.aws.Calls("GetRandomPassword") != 1 {
		t.Errorf("a password of %d characters after %d calls", len(password), s.aws.Calls("GetRandomPassword"))
	}
}

// TestRotateByFunction has the command ask Secrets Manager, which calls the function.
func TestRotateByFunction(t *testing.T) {
	s := newStand(t, kinds["mysql"](t))
	s.strategy = []string{"--strategy", "single"}
	f := s.lambda(t)
	s.aws.OnRotate(func(ctx context.Context, r awsstub.Rotation) { _ = r.Run(ctx, invoker(f)) })
	before := s.aws.Secret(s.secret).Stage(awsstub.Current).ID
	out := s.must(t, "rotate", s.secret)
	if now := s.aws.Secret(s.secret).Stage(awsstub.Current).ID; now == before || !strings.Contains(out, now) || s.aws.Calls("RotateSecret") != 1 {
		t.Errorf("AWSCURRENT is %s, and was %s\n%s", now, before, out)
	}
	s.works(t, awsstub.Current)
}
