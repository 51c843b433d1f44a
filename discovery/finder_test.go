package discovery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/inventory"
	"github.com/credproxy/credproxy/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cloud stands for AWS: what each region has, and whether it says so.
type cloud struct {
	mu       sync.Mutex
	regions  map[string][]rdstypes.DBInstance
	clusters []rdstypes.DBCluster // of each region
	secrets  []smtypes.SecretListEntry
	fails    error                  // the configuration of AWS
	partial  []inventory.Failure    // of each answer
	rounds   map[string][]time.Time // by region
	clients  []inventory.Options
	created  map[string]time.Time // by ARN
}

// made is when something was created: when the stand was told of it first.
func (c *cloud) made(arn string) *time.Time {
	if _, there := c.created[arn]; !there {
		c.created[arn] = time.Now()
	}
	return new(c.created[arn])
}

type client struct {
	c      *cloud
	region string
}

func (c *cloud) connect(_ context.Context, o inventory.Options) (asker, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients = append(c.clients, o)
	return client{c, o.Region}, nil
}

func (c client) Ask(context.Context) (*inventory.Account, error) {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	c.c.rounds[c.region] = append(c.c.rounds[c.region], time.Now())
	if c.c.fails != nil {
		return nil, c.c.fails
	}
	return &inventory.Account{Region: cmp.Or(c.region, "eu-west-1"), Instances: slices.Clone(c.c.regions[c.region]), Clusters: slices.Clone(c.c.clusters), Secrets: slices.Clone(c.c.secrets), Failures: c.c.partial}, nil
}

// has says which instances a region has from now on: NAME, or NAME=HOST.
func (c *cloud) has(region string, names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.regions[region] = nil
	maps.DeleteFunc(c.created, func(arn string, _ time.Time) bool { // what comes back was made anew
		_, name, _ := strings.Cut(arn, region+":123456789012:db:")
		return name != "" && !slices.ContainsFunc(names, func(s string) bool { return s == name || strings.HasPrefix(s, name+"=") })
	})
	for _, name := range names {
		name, host, _ := strings.Cut(name, "=")
		if host == "" {
			host = name + "." + cmp.Or(region, "eu-west-1") + ".example"
		}
		arn := "arn:aws:rds:" + region + ":123456789012:db:" + name
		c.regions[region] = append(c.regions[region], rdstypes.DBInstance{
			DBInstanceIdentifier: &name, DBInstanceArn: &arn, InstanceCreateTime: c.made(arn), Engine: aws.String("postgres"),
			DBInstanceStatus: aws.String("available"), IAMDatabaseAuthenticationEnabled: aws.Bool(true),
			Endpoint: &rdstypes.Endpoint{Address: &host, Port: aws.Int32(5432)},
			TagList:  []rdstypes.Tag{{Key: aws.String("team"), Value: aws.String(name[:1])}},
		})
	}
}

func (c *cloud) fail(err error, partial ...inventory.Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails, c.partial = err, partial
}

func (c *cloud) roundsOf(region string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.rounds[region])
}

// heard is what an Observer hears.
type heard struct {
	mu   sync.Mutex
	said []string
}

func (h *heard) say(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, fmt.Sprintf(format, args...))
}

func (h *heard) Called(_, _, operation, result string) { h.say("%s %s", operation, result) }
func (h *heard) Answered(region, _, result string)     { h.say("%s %s", region, result) }
func (h *heard) Found(region, _ string, n int)         { h.say("%d in %s", n, region) }
func (h *heard) Forget(region, _ string)               { h.say("not %s", region) }

func (h *heard) must(t *testing.T, want ...string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.said, want) {
		t.Errorf("heard %q, want %q", h.said, want)
	}
	h.said = nil
}

// stand is a Finder that runs, in virtual time.
type stand struct {
	*Finder
	*cloud
	cfg   *config.Config
	log   *observer.ObservedLogs
	begin func() // the asking
	t     *testing.T
	heard *heard
}

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// run has a Finder ask as text says, in a bubble of virtual time.
func run(t *testing.T, text string, test func(t *testing.T, s *stand)) {
	t.Helper()
	cfg := parse(t, text)
	synctest.Test(t, func(t *testing.T) {
		core, log := observer.New(zap.InfoLevel)
		hears := new(heard)
		s := &stand{New(zap.New(core), hears), &cloud{regions: map[string][]rdstypes.DBInstance{}, rounds: map[string][]time.Time{}, created: map[string]time.Time{}}, cfg, log, nil, t, hears}
		s.Finder.connect = s.cloud.connect
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		s.Want(cfg)
		s.begin = func() { running.Go(func() { s.Run(ctx) }) }
		test(t, s)
	})
}

// apply does what package daemon does after an answer, or when a file has been read again.
func (s *stand) apply() []config.Database {
	o := s.Complete(s.cfg)
	s.Want(s.cfg)
	s.Applied(o)
	return o.Config.Databases
}

// must holds the names that are served.
func (s *stand) must(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	var got []string
	for _, db := range s.apply() {
		got = append(got, db.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d served: %.200q, want %d: %.200q", len(got), strings.Join(got, " "), len(want), strings.Join(want, " "))
	}
}

// pass lets one more round of calls to eu-west-1 pass.
func (s *stand) pass() {
	for n := s.roundsOf("eu-west-1"); s.roundsOf("eu-west-1") == n; synctest.Wait() {
		time.Sleep(time.Second)
	}
}

const one = "discover: {region: eu-west-1, interval: 1m}\n"

var errDenied = secrets.Errorf(secrets.Denied, "not allowed")

// TestTwoAnswers: what vanished goes when two answers in a row lack it, what comes is
// there at once, and a round that fails or does not tell all is no answer.
func TestTwoAnswers(t *testing.T) {
	run(t, one, func(t *testing.T, s *stand) {
		s.has("eu-west-1", "a", "b")
		s.begin()
		s.must(t, "a", "b")
		steps := []struct {
			there   string
			err     error
			partial bool
			want    string
		}{
			{there: "a", want: "a b"},
			{there: "", err: errDenied, want: "a b"},
			{there: "", partial: true, want: "a b"},
			{there: "a b", want: "a b"}, // it was away once
			{there: "a", want: "a b"},
			{there: "a", want: "a"},
			{there: "c", want: "a c"}, // a was renamed
			{there: "c", err: errDenied, want: "a c"},
			{there: "c", want: "c"},
			{there: "", want: "c"},
			{there: "", want: ""},
			{there: "a", want: "a"},
		}
		for i, step := range steps {
			s.has("eu-west-1", strings.Fields(step.there)...)
			s.fail(step.err)
			if step.partial {
				s.fail(nil, inventory.Failure{Call: "secretsmanager:ListSecrets", Err: errDenied})
			}
			s.pass()
			if s.must(t, strings.Fields(step.want)...); t.Failed() {
				t.Fatalf("step %d, %+v", i+1, step)
			}
		}
	})
}

// TestSingleSecrets: what cannot be read of single secrets does not hold up all else.
func TestSingleSecrets(t *testing.T) {
	run(t, one, func(t *testing.T, s *stand) {
		s.has("eu-west-1", "a")
		s.fail(nil, inventory.Failure{Call: "secretsmanager:BatchGetSecretValue", Err: errDenied, Single: true})
		s.begin()
		s.must(t, "a")
	})
}

// TestPace: AWS is asked once in an interval, whether it answers or not; more often while
// there is no answer yet, and ever less so.
func TestPace(t *testing.T) {
	run(t, "discover: {region: eu-west-1, interval: 5m}\n", func(t *testing.T, s *stand) {
		began := time.Now()
		s.fail(errDenied)
		s.begin()
		time.Sleep(time.Hour)
		gaps := func() (all []time.Duration) {
			s.cloud.mu.Lock()
			defer s.cloud.mu.Unlock()
			for last := began; len(s.rounds["eu-west-1"]) > 0; s.rounds["eu-west-1"] = s.rounds["eu-west-1"][1:] {
				all, last = append(all, s.rounds["eu-west-1"][0].Sub(last)), s.rounds["eu-west-1"][0]
			}
			return all
		}
		for i, gap := range gaps() {
			want := min(5*time.Minute, firstRetry<<max(i-1, 0))
			if i == 0 {
				want = 0
			}
			if gap < want*9/10 || gap > want*11/10 {
				t.Errorf("pause %d is %s, not about %s", i, gap, want)
			}
		}
		if len(s.clients) < 15 {
			t.Errorf("%d clients: what failed is not made anew", len(s.clients))
		}
		s.fail(nil)
		s.has("eu-west-1", "a")
		s.pass()
		s.must(t, "a")
		_, clients := gaps(), len(s.clients)
		time.Sleep(10 * time.Hour)
		if n := len(gaps()); n < 109 || n > 133 {
			t.Errorf("%d rounds in 10 hours, want about 120", n)
		}
		if len(s.clients) != clients {
			t.Errorf("%d clients for one account that answers", len(s.clients)-clients)
		}
		s.fail(errDenied)
		s.pass()
		gaps()
		began = time.Now()
		time.Sleep(10 * time.Hour)
		failed := gaps()
		if n := len(failed); n < 109 || n > 133 {
			t.Errorf("%d rounds in 10 hours of failures, want about 120", n)
		}
		for _, gap := range failed[1:] {
			if gap < 270*time.Second || gap > 330*time.Second {
				t.Errorf("a pause of %s after a failure, not about 5m", gap)
			}
		}
		s.must(t, "a")
		s.AskNow()
		synctest.Wait()
		if n := len(gaps()); n != 1 {
			t.Errorf("%d rounds at once, want 1", n)
		}
	})
}

// TestFirst: the start waits for each account to have been asked, or FirstWait.
func TestFirst(t *testing.T) {
	run(t, "discover: [{region: eu-west-1}, {region: eu-west-2}]\n", func(t *testing.T, s *stand) {
		began := time.Now()
		s.begin()
		s.First(t.Context())
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %s for answers that were there", took)
		}
		s.Finder.connect = func(ctx context.Context, _ inventory.Options) (asker, error) { <-ctx.Done(); return nil, ctx.Err() }
		s.cfg = parse(t, "discover: [{region: eu-west-3}]\n")
		s.Want(s.cfg)
		s.First(t.Context())
		if took := time.Since(began); took != FirstWait {
			t.Errorf("waited %s for an answer that does not come", took)
		}
	})
}

// TestNames: names are those that databases have in AWS, and no database gets the name, or the
// endpoint, of another that is there.
func TestNames(t *testing.T) {
	const text = `
discover:
  - {region: eu-west-1, interval: 1m}
  - {region: eu-west-2, interval: 1m}
  - {region: eu-west-3, interval: 1m, prefix: paris-}
databases:
  - {name: mine, credentials: {file: {path: /x}}}
  - {name: other, engine: postgres, host: Listed.eu-west-1.example., credentials: {file: {path: /x}}}
`
	run(t, text, func(t *testing.T, s *stand) {
		s.has("eu-west-1", "z", "mine", "listed", "b")
		s.has("eu-west-2", "b", "a")
		s.has("eu-west-3", "b", "same=z.eu-west-1.example", strings.Repeat("x", 60))
		s.begin()
		s.must(t, "mine", "other", "b", "z", "a", "paris-b")
		for _, says := range []string{"taken by databases; set prefix", "served already, by databases", "that of arn:aws:rds:eu-west-1:123456789012:db:b, which is older; set prefix",
			"served already, by z", "name: not a usable name"} {
			if !s.logged(says) {
				t.Errorf("the log does not say %q: %v", says, s.log.All())
			}
		}
		lines := s.log.Len()
		s.must(t, "mine", "other", "b", "z", "a", "paris-b")
		if s.log.Len() != lines {
			t.Error("the log says again what it has said")
		}
		// When it is made anew it is the younger one.
		s.has("eu-west-1", "z")
		s.pass()
		s.pass()
		s.must(t, "mine", "other", "z", "a", "b", "paris-b")
		s.has("eu-west-1", "z", "b")
		s.pass()
		s.must(t, "mine", "other", "z", "a", "b", "paris-b")
		for _, db := range s.Complete(s.cfg).Config.Databases {
			if db.Name == "b" && db.Host != "b.eu-west-2.example" {
				t.Errorf("b is %s", db.Host)
			}
		}
		var left []int
		for _, status := range s.Status() {
			left = append(left, len(status.Left))
		}
		if !slices.Equal(left, []int{1, 0, 2}) {
			t.Errorf("not served: %v", left)
		}
	})
}

func (s *stand) logged(part string) bool {
	return slices.ContainsFunc(s.log.All(), func(e observer.LoggedEntry) bool {
		because, _ := e.ContextMap()["because"].(string)
		return strings.Contains(because, part)
	})
}

// TestMost: the databases that are there stay when there are more than a configuration holds.
func TestMost(t *testing.T) {
	run(t, one, func(t *testing.T, s *stand) {
		var names []string
		for i := range config.MaxDatabases {
			names = append(names, fmt.Sprintf("b%04d", i))
		}
		s.has("eu-west-1", names...)
		s.begin()
		s.must(t, names...)
		time.Sleep(time.Second)
		s.has("eu-west-1", append([]string{"a"}, names...)...)
		s.pass()
		s.must(t, names...)
		if !s.logged("holds 1000 databases") {
			t.Error("the log does not say what is left out")
		}
	})
}

// TestSharedRounds: entries of one account share its rounds, at the shorter interval and with
// all that one of them wants.
func TestSharedRounds(t *testing.T) {
	run(t, "discover: [{region: eu-west-1, interval: 1m, read_secrets: true}, {region: eu-west-1, interval: 10m}]\n", func(t *testing.T, s *stand) {
		s.begin()
		time.Sleep(time.Hour)
		if n := s.roundsOf("eu-west-1"); n < 54 || n > 67 {
			t.Errorf("%d rounds in an hour, want about 60", n)
		}
		if len(s.clients) != 1 || !s.clients[0].ReadSecrets {
			t.Errorf("%+v", s.clients)
		}
		s.Want(parse(t, "discover: {region: eu-west-1, interval: 1m}\n"))
		s.pass()
		if len(s.clients) != 2 || s.clients[1].ReadSecrets {
			t.Errorf("%+v", s.clients)
		}
	})
}

// TestFailover: while a cluster fails over nothing changes, also if its members are missing once;
// when its readers are gone their name does not pass to a database that is called like them.
func TestFailover(t *testing.T) {
	run(t, one, func(t *testing.T, s *stand) {
		members := func(writers ...bool) {
			s.cloud.mu.Lock()
			defer s.cloud.mu.Unlock()
			c := rdstypes.DBCluster{
				DBClusterIdentifier: aws.String("shop"), DBClusterArn: aws.String("arn:aws:rds:eu-west-1:123456789012:cluster:shop"), ClusterCreateTime: s.made("cluster"), Engine: aws.String("aurora-postgresql"),
				Status: aws.String("failing-over"), Endpoint: aws.String("w.example"), ReaderEndpoint: aws.String("r.example"), Port: aws.Int32(5432), IAMDatabaseAuthenticationEnabled: aws.Bool(true),
			}
			for _, writer := range writers {
				c.DBClusterMembers = append(c.DBClusterMembers, rdstypes.DBClusterMember{IsClusterWriter: &writer})
			}
			s.clusters = []rdstypes.DBCluster{c}
		}
		s.has("eu-west-1", "shop-reader")
		members(true, false)
		s.begin()
		s.must(t, "shop", "shop-reader")
		before := s.Complete(s.cfg).Config
		for _, now := range [][]bool{{false, true}, {}, {false, true}, {false, false}, {true}, {true, false}} {
			members(now...)
			s.pass()
			if got := s.Complete(s.cfg).Config; !reflect.DeepEqual(got, before) {
				t.Errorf("%v: %+v", now, got)
			}
		}
		members(true)
		s.pass()
		s.pass()
		s.must(t, "shop")
		members(true, false)
		s.pass()
		if got := s.Complete(s.cfg).Config; !reflect.DeepEqual(got, before) {
			t.Errorf("%+v", got)
		}
	})
}

// TestEntries: an entry that changes, as by a reload, is taken at its word at once, and of
// two that find a database the first has it.
func TestEntries(t *testing.T) {
	run(t, one, func(t *testing.T, s *stand) {
		s.has("eu-west-1", "a", "b", "c")
		s.begin()
		s.must(t, "a", "b", "c")
		rounds := s.roundsOf("eu-west-1")
		s.cfg = parse(t, `
discover:
  - {region: eu-west-1, tags: {team: b}, each: {listen: "unix:/tmp/{name}/s", session: {role: r}, pool: {mode: session}}}
  - {region: eu-west-1, tags: {team: ""}, iam_user: shop}
`)
		s.Want(s.cfg)
		s.must(t, "b", "a", "c")
		if n := s.roundsOf("eu-west-1"); n != rounds {
			t.Errorf("%d more rounds for what is known", n-rounds)
		}
		all := s.Complete(s.cfg).Config.Databases
		if b := all[0]; !b.Found || b.Pool.Mode != config.PoolSession || b.Session.Role != "r" || !slices.Equal(b.Listen, []string{"unix:/tmp/b/s"}) || b.Credentials.IAM.User != "app" {
			t.Errorf("%+v", b)
		}
		if a := all[1]; a.Pool.Mode != config.PoolOff || a.Listen != nil || a.Credentials.IAM.User != "shop" || a.Limits.MaxConnections != 1000 {
			t.Errorf("%+v", a)
		}
		s.cfg = parse(t, "databases: [{name: mine, credentials: {file: {path: /x}}}]\n")
		s.heard.must(t, "eu-west-1 ok", "3 in eu-west-1", "3 in eu-west-1")
		s.Want(s.cfg)
		s.must(t, "mine")
		s.heard.must(t, "not eu-west-1")
		time.Sleep(time.Hour)
		if n := s.roundsOf("eu-west-1"); n != rounds {
			t.Errorf("%d more rounds for an account that is not wanted", n-rounds)
		}
	})
}
