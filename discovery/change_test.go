package discovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/inventory"
)

// again puts another file to work, as a reload does.
func (s *stand) again(t *testing.T, text string) {
	t.Helper()
	s.cfg = parse(t, text)
	s.apply()
}

// upstreams are the names that are served and where they lead to.
func upstreams(all []config.Database) (lines []string) {
	for _, db := range all {
		lines = append(lines, fmt.Sprintf("%s=%s/%s", db.Name, db.Host, secretOf(&db)))
	}
	return lines
}

// restarted is what a Finder serves that has only the latest answers.
func (s *stand) restarted() []string {
	f := New(s.Finder.log, nobody{})
	f.connect = s.cloud.connect
	f.Want(s.cfg)
	for _, search := range f.accounts {
		f.note(search, f.ask(s.t.Context(), search))
	}
	return upstreams(f.Complete(s.cfg).Config.Databases)
}

func (s *stand) addCluster(name string, readers bool) {
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	arn := "arn:aws:rds:eu-west-1:123456789012:cluster:" + name
	c := rdstypes.DBCluster{
		DBClusterIdentifier: &name, DBClusterArn: &arn, ClusterCreateTime: s.made(arn), Engine: aws.String("aurora-postgresql"), Status: aws.String("available"), Port: aws.Int32(5432),
		Endpoint: aws.String(name + ".w.example"), ReaderEndpoint: aws.String(name + ".r.example"), IAMDatabaseAuthenticationEnabled: aws.Bool(true),
		DBClusterMembers: []rdstypes.DBClusterMember{{IsClusterWriter: aws.Bool(true)}},
	}
	if readers {
		c.DBClusterMembers = append(c.DBClusterMembers, rdstypes.DBClusterMember{IsClusterWriter: aws.Bool(false)})
	}
	s.clusters = append(s.clusters, c)
}

// attach says which secrets belong to an instance.
func (s *stand) attach(instance string, names ...string) {
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	s.secrets = nil
	for _, name := range names {
		s.secrets = append(s.secrets, smtypes.SecretListEntry{Name: &name, ARN: aws.String(secretARN + name + "-AbCdEf"),
			Tags: []smtypes.Tag{{Key: aws.String("aws:rds:primaryDBInstanceArn"), Value: aws.String("arn:aws:rds:eu-west-1:123456789012:db:" + instance)}}})
	}
}

const secretARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:"

// TestRestartChangesNoName: when a cluster, its readers and an instance want one name the oldest has
// it: what comes takes it from nobody, and a restart leads no name to another database.
func TestRestartChangesNoName(t *testing.T) {
	run(t, one, func(t *testing.T, s *stand) {
		s.has("eu-west-1", "orders", "shop-reader")
		s.begin()
		s.must(t, "orders", "shop-reader")
		time.Sleep(time.Second)
		s.addCluster("orders", true)
		s.addCluster("shop", true)
		want := []string{"orders=orders.eu-west-1.example/", "orders-reader=orders.r.example/", "shop=shop.w.example/", "shop-reader=shop-reader.eu-west-1.example/"}
		for range 3 {
			s.pass()
			if got := upstreams(s.apply()); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			if got := s.restarted(); !slices.Equal(got, want) {
				t.Errorf("after a restart %q, want %q", got, want)
			}
		}
		if !s.logged("its name is that of arn:aws:rds:eu-west-1:123456789012:db:orders, which is older") || len(s.Status()[0].Left) != 2 {
			t.Errorf("%v", s.Status())
		}
		// The instance has no login for a while: its name waits for it.
		s.cloud.mu.Lock()
		s.regions["eu-west-1"][0].IAMDatabaseAuthenticationEnabled = aws.Bool(false)
		s.cloud.mu.Unlock()
		s.pass()
		s.pass()
		if got := upstreams(s.apply()); !slices.Equal(got, want[1:]) {
			t.Errorf("%q", got)
		}
	})
	// The readers of an older cluster come and go.
	run(t, one, func(t *testing.T, s *stand) {
		s.addCluster("shop", false)
		s.begin()
		s.must(t, "shop")
		time.Sleep(time.Second)
		s.has("eu-west-1", "shop-reader")
		s.pass()
		s.must(t, "shop")
		s.clusters = nil
		s.addCluster("shop", true)
		s.pass()
		s.must(t, "shop", "shop-reader")
		if got := s.restarted(); got[1] != "shop-reader=shop.r.example/" {
			t.Errorf("%q", got)
		}
	})
}

// TestAccountAddressedAnew: whatever changes in how an account is addressed, what is served stays
// until AWS has answered so; another region or account is another one.
func TestAccountAddressedAnew(t *testing.T) {
	const role, other = "arn:aws:iam::123456789012:role/x", "arn:aws:iam::210987654321:role/x"
	as := func(region, role, more string) string {
		return fmt.Sprintf("discover: {region: %q, assume_role: {role_arn: %q%s}}\n", region, role, more)
	}
	for _, tt := range []struct {
		before, after string
		region        string // of the answer to after
		stays         bool
	}{
		{as("eu-west-1", role, ""), as("eu-west-1", role, ", session_name: shop"), "eu-west-1", true},
		{as("eu-west-1", role, ""), as("eu-west-1", role, ", external_id: shop"), "eu-west-1", true},
		{as("eu-west-1", role, ""), as("eu-west-1", role+"-2", ""), "eu-west-1", true},
		{"discover: {}\n", "discover: {region: eu-west-1}\n", "eu-west-1", true},
		{"discover: {region: eu-west-1}\n", as("eu-west-1", role, ""), "eu-west-1", true},
		{as("eu-west-1", role, ""), as("eu-west-2", role, ""), "eu-west-2", false},
		{as("eu-west-1", role, ""), as("eu-west-1", other, ""), "eu-west-1", false},
		{"discover: {region: eu-west-1}\n", "databases: [{name: mine, credentials: {file: {path: /x}}}]\ndiscover: {region: eu-west-2}\n", "eu-west-2", false},
	} {
		run(t, tt.before, func(t *testing.T, s *stand) {
			s.has(s.cfg.Discover[0].Region, "a", "b")
			s.begin()
			synctest.Wait()
			s.apply()
			s.fail(errDenied)
			s.again(t, tt.after)
			var want []string
			for _, db := range s.cfg.Databases {
				want = append(want, db.Name)
			}
			if tt.stays {
				want = append(want, "a", "b")
			}
			s.must(t, want...)
			time.Sleep(time.Hour)
			s.must(t, want...)
			if n := s.Status()[0].Databases; tt.stays && n != 2 {
				t.Errorf("%s: the status has %d", tt.after, n)
			}
			// Its own first answer is taken at its word.
			s.has(tt.region, "c")
			s.fail(nil)
			s.AskNow()
			synctest.Wait()
			if len(s.accounts[accountOf(s.cfg.Discover[0])].latest.Instances) != 1 {
				t.Error("no answer")
			}
			if db := upstreams(s.apply()); !strings.HasPrefix(db[len(db)-1], "c=") {
				t.Errorf("%q", db)
			}
		})
	}
}

// TestReloadAtItsWord: other terms of an account have effect at once, as has a prefix; a
// configuration that is not put to work changes nothing.
func TestReloadAtItsWord(t *testing.T) {
	run(t, "discover: {region: eu-west-1, interval: 24h}\n", func(t *testing.T, s *stand) {
		s.has("eu-west-1", "a")
		s.begin()
		s.must(t, "a")
		_ = s.Complete(parse(t, "databases: [{name: a, credentials: {file: {path: /x}}}]\n")) // and it is refused
		if st := s.Status(); st[0].Databases != 1 || st[0].Left != nil {
			t.Errorf("%+v", st)
		}
		rounds := s.roundsOf("eu-west-1")
		for _, text := range []string{
			"discover: {region: eu-west-1, interval: 23h}\n",
			"discover: {region: eu-west-1, interval: 23h, read_secrets: true}\n",
			"discover: {region: eu-west-1, interval: 30s}\n",
		} {
			s.again(t, text)
			synctest.Wait()
			if n := s.roundsOf("eu-west-1"); n != rounds+1 {
				t.Errorf("%s: %d rounds at once", text, n-rounds)
			}
			rounds = s.roundsOf("eu-west-1")
		}
		s.again(t, "discover: {region: eu-west-1, interval: 30s, prefix: x-}\n")
		s.must(t, "x-a")
		s.again(t, "discover: {region: eu-west-1, interval: 30s, prefix: y-}\n")
		s.must(t, "y-a")
	})
}

// TestFileGoesFirst: nothing that is found takes what the file has: a socket, however its path is
// written, the socket for control, a server, or a database whose secret says where it is.
func TestFileGoesFirst(t *testing.T) {
	for name, text := range map[string]string{
		"its socket": `
admin: {control: "unix:/run/x/b"}
discover: {region: eu-west-1, each: {listen: "unix:/run/x/{name}"}}
databases: [{name: mine, listen: "unix:/run/y/../x/a", credentials: {file: {path: /x}}}]
`,
		"its endpoint": `
discover: {region: eu-west-1}
databases:
  - {name: mine, engine: postgres, role: writer, host: other.example, hosts: [a.eu-west-1.example, "B.eu-west-1.example:5432"], credentials: {file: {path: /x}}}
`,
		"has its secret": `
discover: {region: eu-west-1}
databases:
  - {name: mine, credentials: {secrets_manager: {secret_id: of-a}}}
  - {name: mine-too, listen: "localhost:1", credentials: {secrets_manager: {secret_id: "` + secretARN + `of-b-AbCdEf"}}}
`,
	} {
		run(t, text, func(t *testing.T, s *stand) {
			s.has("eu-west-1", "a", "b", "c")
			var all []smtypes.SecretListEntry
			for _, name := range []string{"a", "b"} {
				s.attach(name, "of-"+name)
				all = append(all, s.secrets...)
			}
			s.secrets = all
			s.begin()
			synctest.Wait()
			var got []string
			for _, db := range s.apply() {
				if db.Found {
					got = append(got, db.Name)
				}
			}
			if left := s.Status()[0].Left; !slices.Equal(got, []string{"c"}) || len(left) != 2 || !strings.Contains(left[0], name) || !strings.Contains(left[1], name) {
				t.Errorf("%s: served %q, not served %q", name, got, left)
			}
		})
	}
}

// TestSecondSecret: the secret in use stays while it is attached, whatever is attached beside it; of
// several of which none has been in use none is guessed.
func TestSecondSecret(t *testing.T) {
	run(t, one, func(t *testing.T, s *stand) {
		uses := func(want string) {
			t.Helper()
			s.pass()
			if got := upstreams(s.apply()); !slices.Equal(got, []string{"a=a.eu-west-1.example/" + want}) {
				t.Errorf("%q, want %q", got, want)
			}
		}
		s.has("eu-west-1", "a")
		s.attach("a", "orders/app")
		s.begin()
		uses(secretARN + "orders/app-AbCdEf")
		s.attach("a", "admin/breakglass", "orders/app")
		uses(secretARN + "orders/app-AbCdEf")
		uses(secretARN + "orders/app-AbCdEf")
		if got := s.restarted(); got != nil {
			t.Errorf("after a restart: %q", got)
		}
		s.attach("a", "orders/new")
		uses(secretARN + "orders/new-AbCdEf")
		changed := s.log.FilterMessage("database has another secret").All()
		if len(changed) != 1 || changed[0].ContextMap()["audit"] != true || changed[0].ContextMap()["after"] != secretARN+"orders/new-AbCdEf" {
			t.Errorf("%v", changed)
		}
		s.attach("a")
		uses("")
		s.attach("a", "1", "2")
		uses("") // IAM is in use
		s.cloud.mu.Lock()
		s.regions["eu-west-1"][0].IAMDatabaseAuthenticationEnabled = aws.Bool(false)
		s.cloud.mu.Unlock()
		s.pass()
		s.pass()
		if got := s.apply(); len(got) != 0 || !s.logged("several secrets are attached to it (1, 2)") {
			t.Errorf("%+v", got)
		}
	})
}

// TestNothingTold: a role that may ask nothing is told as such, with the call.
func TestNothingTold(t *testing.T) {
	run(t, one, func(t *testing.T, s *stand) {
		s.fail(fmt.Errorf("AWS tells nothing of this account: %w", inventory.Failure{Call: "rds:DescribeDBClusters", Err: errDenied}))
		s.begin()
		synctest.Wait()
		if got := s.Status()[0]; got.Reason != "access_denied" || !strings.HasPrefix(got.Err.Error(), "rds:DescribeDBClusters: ") {
			t.Errorf("%+v", got)
		}
		s.heard.must(t, "eu-west-1 access_denied")
	})
}
