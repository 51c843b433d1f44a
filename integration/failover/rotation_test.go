package failover_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/rotator"
)

// SetPassword gives a user another password at the writer.
func (p *pair) SetPassword(ctx context.Context, user, password string) error {
	return p.servers[p.writer].SetPassword(ctx, user, password)
}

// Login logs in at the writer.
func (p *pair) Login(ctx context.Context, user, password string) error {
	s, err := p.connect(ctx, door{host: p.writer, port: fmt.Sprint(p.port), user: user, password: password, ca: p.ca})
	if err == nil {
		s.close()
	}
	return err
}

// TestRotationAndFailover has a secret rotate while the servers change roles: no client is
// refused who comes while there is a writer.
func TestRotationAndFailover(t *testing.T) {
	tests := map[string]func(t *testing.T, s *stand, r *rotator.Rotator) change{
		"failover within a rotation": func(t *testing.T, s *stand, r *rotator.Rotator) (c change) {
			r.After = func(_ context.Context, done rotator.Step) error {
				if done == rotator.Set {
					c = s.handOver(t)
				}
				return nil
			}
			must(t, r.Rotate(t.Context(), s.aws.BeginRotation(secretName)))
			return c
		},
		"rotation within a failover": func(t *testing.T, s *stand, r *rotator.Rotator) (c change) {
			begun := time.Now()
			must(t, s.servers[s.writer].Kill())
			r.After = func(_ context.Context, done rotator.Step) error {
				if done == rotator.Create {
					c = s.promote(t, begun)
				}
				return nil
			}
			must(t, r.Rotate(t.Context(), s.aws.BeginRotation(secretName)))
			delete(s.servers, c.from)
			return c
		},
	}
	for name, fail := range tests {
		for _, e := range engines() {
			t.Run(name+"/"+e.String(), func(t *testing.T) {
				t.Parallel()
				s := newPair(t, e).run(t, roleWriter()...)
				r := &rotator.Rotator{Secrets: rotator.Client(s.aws), SecretID: secretName, Database: s.pair}
				clients := writeTo(t, e, s.door(t), false)
				awaitWrites(t, s.writer, clients)
				n := clients.now()
				c := fail(t, s, r)
				awaitWrites(t, c.to, clients)
				r.After = nil
				must(t, r.Rotate(t.Context(), s.aws.BeginRotation(secretName))) // once more, at the new writer
				awaitWrites(t, c.to, clients)
				visits := clients.since(n)
				c.judge(t, name, visits)
				refused := 0
				for _, v := range visits {
					if v.in {
						continue
					}
					refused++
					t.Logf("refused: %v", v.err)
					if v.begun.After(c.promoted) || v.ended.Before(c.begun) {
						t.Errorf("refused while there is a writer: %v", v.err)
					}
				}
				t.Logf("%d visits, %d refused while there was no writer", len(visits), refused)
			})
		}
	}
}
