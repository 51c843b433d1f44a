package failover_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// stale is for how long Aurora's names go on naming the old writer, at worst.
const stale = 40 * time.Second

// soak is how many failovers to measure, 0 unless the environment says so.
func soak(t *testing.T) int {
	t.Helper()
	const variable = "CREDPROXY_SOAK"
	text := os.Getenv(variable)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s is no number of failovers", variable, text)
	}
	return n
}

// TestWritersUnderFailover has clients of role writer write while the servers change roles,
// by an operator and by crashes, and the cluster's name names the old writer.
func TestWritersUnderFailover(t *testing.T) {
	for _, e := range engines() {
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, e)
			s, pooled := p.run(t, roleWriter()...), p.run(t, roleWriter("pool: {mode: session}")...)
			loads := map[string]*load{
				"through credproxy, a session a write":        writeTo(t, e, s.door(t), false),
				"through credproxy, sessions kept":            writeTo(t, e, s.door(t), true),
				"through credproxy's pool, a session a write": writeTo(t, e, pooled.door(t), false),
			}
			through := loadsOf(loads)
			n := soak(t)
			if n > 0 {
				loads["direct, a session a write"] = writeTo(t, e, s.direct(), false)
				loads["direct, sessions kept"] = writeTo(t, e, s.direct(), true)
			}
			awaitWrites(t, s.writer, loadsOf(loads)...)
			seen := map[string][]outage{}
			for i := range cmp.Or(n, 2) {
				marks := map[string]int{}
				for name, l := range loads {
					marks[name] = l.now()
				}
				c := s.failOver(t, i)
				if n > 0 {
					s.names.PointAfter(stale, clusterName, c.to)
				}
				awaitWrites(t, c.to, through...)
				s.noSessionsAt(t, c.from)
				t.Logf("failover %d: no writer for %v", i+1, c.promoted.Sub(c.begun))
				noticed := c
				noticed.demoted = time.Now()
				s.heal(t)
				awaitWrites(t, c.to, loadsOf(loads)...) // while the old name names a reader
				for name, l := range loads {
					visits := l.since(marks[name])
					o := measure(c, visits)
					t.Logf("failover %d, %s: %v", i+1, name, o)
					seen[name] = append(seen[name], o)
					switch {
					case strings.Contains(name, "pool"): // its sessions are not asked each time
						noticed.judge(t, name, visits)
					case strings.HasPrefix(name, "through"):
						c.judge(t, name, visits)
					}
				}
				s.names.Point(clusterName, c.to)
			}
			report(t, e, seen)
		})
	}
}

func loadsOf(byName map[string]*load) (all []*load) {
	for _, l := range byName {
		all = append(all, l)
	}
	return all
}

// failOver is every other time an operator's doing, and a crash else.
func (p *pair) failOver(t *testing.T, i int) change {
	t.Helper()
	if i%2 == 0 {
		return p.handOver(t)
	}
	return p.crash(t)
}

// noSessionsAt waits until credproxy has none at a server that was demoted, if it lives.
func (s *stand) noSessionsAt(t *testing.T, host string) {
	t.Helper()
	server := s.servers[host]
	if _, ends := s.engine.(postgres); server == nil || ends {
		return
	}
	sidecar.Await(t, "end of all sessions at "+host, func() bool {
		n, err := s.sessions(t.Context(), server, appUser)
		must(t, err)
		return n == 0
	})
}

// judge fails the test if a client was let in to a server that was demoted before it came.
func (c change) judge(t *testing.T, load string, visits []visit) {
	t.Helper()
	for _, v := range visits {
		if v.begun.Before(c.demoted) {
			continue
		}
		if v.reader || v.host == c.from {
			t.Errorf("%s: client %d, who came %v after %s was demoted, is at %s, reader: %t, wrote: %t", load, v.client, v.begun.Sub(c.demoted), c.from, v.host, v.reader, v.wrote)
			return
		}
	}
}

// outage is what a load saw of a failover.
type outage struct {
	away     time.Duration // from the promotion to the end of the first write at the new writer
	refused  int           // visits without a session
	why      error         // of the first of them
	readOnly int           // writes refused as at a reader
	late     int           // visits that ended at the old writer 5 s after its demotion or later
}

// String is a line for the log.
func (o outage) String() string {
	return fmt.Sprintf("first write after %v, %d visits without a session (%v), %d writes refused as read-only, %d late", o.away, o.refused, o.why, o.readOnly, o.late)
}

// measure looks at the visits since shortly before a change.
func measure(c change, visits []visit) (o outage) {
	for _, v := range visits {
		switch {
		case v.wrote && v.host == c.to && o.away == 0:
			o.away = v.ended.Sub(c.promoted)
		case !v.in:
			o.refused++
			o.why = cmp.Or(o.why, v.err)
		case v.readOnly:
			o.readOnly++
		}
		if v.host == c.from && v.ended.Sub(c.demoted) > 5*time.Second {
			o.late++
		}
	}
	return o
}

// report logs what the loads saw, and holds those through credproxy to what docs/failover.md
// promises if it is many.
func report(t *testing.T, e engine, seen map[string][]outage) {
	t.Helper()
	const promisedMedian, promisedWorst = 2 * time.Second, 5 * time.Second
	var b strings.Builder
	for name, outages := range seen {
		slices.SortFunc(outages, func(a, b outage) int { return cmp.Compare(a.away, b.away) })
		var sum outage
		for _, o := range outages {
			sum.refused, sum.readOnly, sum.late = sum.refused+o.refused, sum.readOnly+o.readOnly, sum.late+o.late
		}
		median, worst := outages[len(outages)/2].away, outages[len(outages)-1].away
		fmt.Fprintf(&b, "| %s | %s | %d | %.2f s | %.2f s | %d | %d | %d |\n", e, name, len(outages), median.Seconds(), worst.Seconds(), sum.refused, sum.readOnly, sum.late)
		if soak(t) == 0 || strings.HasPrefix(name, "direct") { // a machine that runs all tests may be slow
			continue
		}
		if sum.late > 0 {
			t.Errorf("%s: %d visits to a demoted server after 5 s", name, sum.late)
		}
		if median > promisedMedian || worst > promisedWorst {
			t.Errorf("%s: first write after a failover: median %v, worst %v", name, median, worst)
		}
	}
	t.Logf("server, clients, failovers, median and worst time to the first write, visits without a session, writes refused as read-only, visits to the old writer after 5 s\n%s", b.String())
}
