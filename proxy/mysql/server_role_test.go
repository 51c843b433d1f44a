package mysql

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
)

// allAlike is a topology.Engine whose servers all refuse: no search finds any.
type allAlike struct{ *Engine }

// Open implements topology.Engine.
func (a allAlike) Open(context.Context, *secrets.Credential, string, topology.Route) (topology.Conn, error) {
	return nil, a.elsewhere(topology.Route{}, errMoved("for the test"))
}

// TestRoleIsAskedBeforeOK has servers answer the question for their role in all ways there are.
func TestRoleIsAskedBeforeOK(t *testing.T) {
	tests := []struct {
		name   string
		role   topology.Role
		answer string
		want   string // the beginning of what the client hears
	}{
		{"a writer", topology.Writer, okPacket, okPacket + "info"},
		{"a reader, which is wanted", topology.Reader, okPacket, okPacket + "info"},
		{"a reader", topology.Writer, "\xff\x9a\x06#22003BIGINT value is out of range", "\xff\xd3\x07#08S01credproxy: "},
		{"a writer, and a reader is wanted", topology.Reader, "\xff\x9a\x06#22003BIGINT value is out of range", "\xff\xd3\x07#08S01credproxy: "},
		{"no answer", topology.Writer, "\xff\x1c\x07#HY000the password has expired", "\xff\x51\x04#HY000credproxy: the database refused a statement"},
		{"rows", topology.Writer, "\x01", "\xff\xd3\x07#08S01credproxy: "},
	}
	for _, flags := range []uint32{0, mysql.CLIENT_QUERY_ATTRIBUTES | mysql.CLIENT_DEPRECATE_EOF | mysql.CLIENT_SESSION_TRACK, mysql.CLIENT_COMPRESS} {
		for _, tt := range tests {
			if flags != 0 && tt.answer != okPacket {
				continue // it takes until the login's time is over
			}
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				g := realGreeting()
				g.Capabilities |= flags
				var servers *topology.Servers
				rig := newRig(t, func(e *Engine) {
					servers = topology.New(topology.Options{Role: tt.role, Monitor: time.Second, LoginTimeout: time.Second, Log: zap.NewNop(),
						Database: func(*secrets.Credential) string { return "" }})
					e.Servers = servers
					servers.SetEngine(allAlike{e})
				}, func(p *scripted) {
					p.greet(g)
					p.send(okPacket + "info")
					p.Seq = 0
					asked := p.payload()
					if asked == "" {
						return
					}
					statement := "\x03"
					if flags&mysql.CLIENT_QUERY_ATTRIBUTES != 0 {
						statement = "\x03\x00\x01"
					}
					if !strings.HasPrefix(asked, statement+"SET SESSION net_retry_count = ") {
						t.Errorf("the database was asked %q", asked)
					}
					p.send(tt.answer)
					p.Seq = 0
					p.payload()
				})
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					servers.Run(ctx, secrets.New(&moving{}, secrets.Options{LoginTimeout: time.Second}))
				}()
				defer func() { cancel(); <-ended }()
				in := passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD)
				in.Capabilities |= flags
				if _, reply := newPeer(t, rig.Dial(t)).login(in); !strings.HasPrefix(reply, tt.want) || strings.Contains(reply, password) {
					t.Errorf("the client hears %q, want %q", reply, tt.want)
				}
			})
		}
	}
}
