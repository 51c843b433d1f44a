package failover_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/dnsstub"
	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/sidecar"
)

const (
	// The users: credproxy's, and that of clients who connect directly.
	appUser, directUser         = "app", "direct"
	appPassword, directPassword = "planted-App-1", "planted-Direct-1"

	secretName = "prod/orders"

	// The cluster's name, and those of its servers.
	clusterName  = "orders.test"
	nameA, nameB = "a.orders.test", "b.orders.test"
	hostA, hostB = "127.0.0.2", "127.0.0.3"
)

// server is one of a pair.
type server interface {
	Addr() string
	Kill() error
	Vanish() error
	Stop()
	Promote(ctx context.Context) error
	SetPassword(ctx context.Context, user, password string) error
}

// engine is how servers of a kind are run and spoken to.
type engine interface {
	fmt.Stringer
	// start starts a server with the users and the table, or, unless of is nil, a replica.
	start(ctx context.Context, at place, of server) (server, error)
	// demote has old take no more writes, as an operator does, once next has all of them.
	demote(ctx context.Context, old, next server) error
	// follow makes a demoted server a replica of next.
	follow(ctx context.Context, at place, old, next server) (server, error)
	// sessions counts those of a user.
	sessions(ctx context.Context, s server, user string) (int, error)
	connect(ctx context.Context, d door) (session, error)
	// yaml are the lines of configuration that are the engine's own.
	yaml() string
	secret(user, password, host string, port int) string
}

// engines are those that a test runs against, each.
func engines() []engine {
	return []engine{postgres{version: 15}, mySQL{flavor: "mysql"}, mySQL{flavor: "mariadb"}}
}

// place is where a server is to listen and what to show.
type place struct {
	host string
	port int // 0: a free one
	cert *pki.Certificate
	ca   *pki.CA
}

// pair is two servers of one database: one takes writes, the other follows.
type pair struct {
	engine
	names  *dnsstub.Server
	ca     *pki.CA
	caFile string
	port   int

	writer, replica string // hosts
	places          map[string]place
	servers         map[string]server
}

func newPair(t *testing.T, e engine) *pair {
	t.Helper()
	ca, err := pki.NewCA("orders")
	must(t, err)
	p := &pair{engine: e, names: dnsstub.Run(t), ca: ca, writer: hostA, replica: hostB, places: map[string]place{}, servers: map[string]server{}}
	p.caFile, err = ca.Write(t.TempDir(), "ca")
	must(t, err)
	t.Cleanup(func() {
		for _, s := range p.servers {
			s.Stop()
		}
	})
	for host, name := range map[string]string{hostA: nameA, hostB: nameB} {
		cert, err := ca.Issue(pki.Leaf{Names: []string{name, clusterName, rdsInstance[host], rdsCluster}, IPs: []net.IP{net.ParseIP(host)}})
		must(t, err)
		p.places[host] = place{host: host, cert: cert, ca: ca}
		p.names.Point(name, host)
		p.names.Point(rdsInstance[host], host)
	}
	p.names.Point(clusterName, p.writer)
	p.names.Point(rdsCluster, p.writer)
	p.servers[hostA], err = e.start(t.Context(), p.places[hostA], nil)
	must(t, err)
	_, port, _ := net.SplitHostPort(p.servers[hostA].Addr())
	_, err = fmt.Sscan(port, &p.port)
	must(t, err)
	for host, at := range p.places {
		at.port = p.port
		p.places[host] = at
	}
	p.servers[hostB], err = e.start(t.Context(), p.places[hostB], p.servers[hostA])
	must(t, err)
	return p
}

// change is a failover.
type change struct {
	from, to string
	begun    time.Time // until this time the old writer takes writes
	demoted  time.Time // from this time on it takes none
	promoted time.Time // from this time on the new one may
}

// handOver has the servers change roles as an operator does. The names stay.
func (p *pair) handOver(t *testing.T) change {
	t.Helper()
	begun := time.Now()
	must(t, p.demote(t.Context(), p.servers[p.writer], p.servers[p.replica]))
	return p.promote(t, begun)
}

// crash kills the writer and promotes the other. The names stay.
func (p *pair) crash(t *testing.T) change {
	t.Helper()
	begun := time.Now()
	must(t, p.servers[p.writer].Kill())
	delete(p.servers, p.writer)
	return p.promote(t, begun)
}

// promote makes the replica the writer, of a failover that began then.
func (p *pair) promote(t *testing.T, begun time.Time) change {
	t.Helper()
	now := time.Now()
	c := change{from: p.writer, to: p.replica, begun: begun, demoted: now, promoted: now}
	p.writer, p.replica = c.to, c.from
	must(t, p.servers[p.writer].Promote(t.Context()))
	return c
}

// vanish has the writer's machine vanish and promotes the other. The names stay.
func (p *pair) vanish(t *testing.T) change {
	t.Helper()
	begun := time.Now()
	must(t, p.servers[p.writer].Vanish())
	return p.promote(t, begun)
}

// heal makes the old writer, or one in its place, the replica of the new one.
func (p *pair) heal(t *testing.T) {
	t.Helper()
	at, old := p.places[p.replica], p.servers[p.replica]
	var err error
	if old == nil {
		old, err = p.start(t.Context(), at, p.servers[p.writer])
	} else {
		delete(p.servers, p.replica) // follow may end it
		old, err = p.follow(t.Context(), at, old, p.servers[p.writer])
	}
	must(t, err)
	p.servers[p.replica] = old
}

// stand is a pair, the stand-in for AWS with its secret, and credproxy.
type stand struct {
	*pair
	aws   *awsstub.Server
	proxy *sidecar.Proxy
}

// run starts credproxy in front of the pair, with more lines of YAML of the database.
func (p *pair) run(t *testing.T, more ...string) *stand {
	t.Helper()
	aws, err := awsstub.Start(awsstub.Options{})
	must(t, err)
	t.Cleanup(aws.Close)
	s := &stand{pair: p, aws: aws}
	arn := aws.CreateSecret(secretName, p.secret(appUser, appPassword, clusterName, p.port))
	program, err := p.names.Wrap(t.TempDir(), binary)
	must(t, err)
	config := fmt.Sprintf("databases:\n  - name: orders\n    listen: 127.0.0.1:0\n    credentials: {secrets_manager: {secret_id: %q}}\n    tls: {ca_file: %q}\n    %s\n", arn, p.caFile, p.yaml())
	for _, line := range more {
		config += "    " + line + "\n"
	}
	s.proxy = sidecar.Run(t, sidecar.Options{Binary: program, Config: config, Env: aws.Env(), KeepLog: 1 << 20}, appPassword)
	s.proxy.Addr(t, "orders") // it listens
	return s
}

// roleWriter are the lines of a database whose clients get the writer of a pair.
func roleWriter(more ...string) []string {
	return append([]string{"role: writer", fmt.Sprintf("hosts: [%s, %s]", nameA, nameB)}, more...)
}

// door is where a session is opened: credproxy's, or the cluster's own.
type door struct {
	host, port     string
	user, password string
	ca             *pki.CA        // nil: no TLS
	resolver       *net.Resolver  // nil: the host is an address
	dialled        func(net.Conn) // unless nil, gets the connection
}

func (d door) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := net.Dialer{Resolver: d.resolver}
	c, err := dialer.DialContext(ctx, network, addr)
	if err == nil && d.dialled != nil {
		d.dialled(c)
	}
	return c, err
}

func (s *stand) door(t *testing.T) door {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.proxy.Addr(t, "orders"))
	return door{host: host, port: port, user: "anybody"}
}

// direct is the door of clients who have the cluster's name and a password.
func (p *pair) direct() door {
	return door{host: clusterName, port: fmt.Sprint(p.port), user: directUser, password: directPassword, ca: p.ca, resolver: p.names.Resolver()}
}

// session is a client's.
type session interface {
	// who tells the host of the server, and whether it refuses writes.
	who(ctx context.Context) (host string, reader bool, err error)
	// write writes a row.
	write(ctx context.Context, client, number int) error
	close()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
