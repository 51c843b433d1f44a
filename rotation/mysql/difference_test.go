package mysql

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// sim does with grants what MySQL does when it grants and revokes.
type sim struct {
	*grants
	t *testing.T
	d *difference
}

// run runs a statement.
func (m *sim) run(sql string) {
	s := scan(sql)
	switch {
	case s.accept("GRANT"):
		g := parsed(m.t, sql)
		for on, p := range g.on {
			for name := range p.has {
				if m.without[on][name] {
					delete(m.without[on], name)
				} else {
					m.at(on).has[name] = true
				}
			}
			m.at(on).option = m.at(on).option || p.option
		}
		for name, option := range g.dynamic {
			m.dynamic[name] = m.dynamic[name] || option
		}
		maps.Copy(m.roles, g.roles)
		maps.Copy(m.proxies, g.proxies)
	case s.accept("REVOKE", "GRANT", "OPTION", "ON"):
		m.at(s.object()).option = false
	case s.accept("REVOKE", "ADMIN", "OPTION", "FOR"):
		m.roles[s.account()] = false
	case s.accept("REVOKE", "PROXY", "ON"):
		delete(m.proxies, s.account())
	case s.accept("REVOKE") && s.peek().quoted:
		delete(m.roles, s.account())
	default:
		names := s.privileges()
		on := s.object()
		slices.SortFunc(names, func(a, b string) int { return len(base(a)) - len(a) - len(base(b)) + len(b) }) // columns first
		for _, name := range names {
			m.revoke(on, name)
		}
	}
	if s.err != nil {
		m.t.Fatalf("%s: %v", sql, s.err)
	}
}

func (m *sim) revoke(on, name string) {
	has := m.at(on).has
	m.expand(on)
	switch {
	case on == anywhere && isDynamic(name):
		delete(m.dynamic, name)
	case has[name]:
		delete(has, name)
		for column := range has {
			if base(column) == name {
				delete(has, column)
			}
		}
		for _, restricted := range m.without {
			if on == anywhere {
				delete(restricted, name)
			}
		}
	case m.at(anywhere).has[name] || m.at(anywhere).has[all]:
		if m.without[on] == nil {
			m.without[on] = map[string]bool{}
		}
		m.without[on][name] = true
	default:
		m.t.Errorf("%s ON %s was revoked and is not there", name, on)
	}
}

// expand writes ALL PRIVILEGES in full.
func (m *sim) expand(on string) {
	if has := m.at(on).has; has[all] {
		delete(has, all)
		for _, name := range m.d.expand(on) {
			has[name] = true
		}
	}
}

// text is all of it in one form.
func (m *sim) text() string {
	var b strings.Builder
	for _, on := range sorted(m.on) {
		m.expand(on)
		if p := m.on[on]; p.option || len(p.has) > 0 {
			fmt.Fprintln(&b, on, p.option, sorted(p.has))
		}
	}
	for _, on := range sorted(m.without) {
		if len(m.without[on]) > 0 {
			fmt.Fprintln(&b, "without", on, sorted(m.without[on]))
		}
	}
	fmt.Fprintln(&b, m.dynamic, m.roles, m.proxies)
	return b.String()
}

// grantsFrom makes grants of what a fuzzer gives.
func grantsFrom(b []byte) *grants {
	g := newGrants()
	things := []string{"*.*", "`app`.*", "`app`.`t`", "PROCEDURE `app`.`p`", "`we``ird`.*"}
	for ; len(b) >= 3; b = b[3:] {
		option := b[2]&1 != 0
		on := things[int(b[1])%len(things)]
		switch b[0] % 8 {
		case 0:
			g.dynamic[[]string{"A_B", "C_D", "E_F"}[int(b[1])%3]] = option
		case 1:
			g.roles[user{[]string{"r", "s"}[int(b[1])%2], "%"}] = option
		case 2:
			g.proxies[user{[]string{"p", "q"}[int(b[1])%2], "%"}] = option
		case 3:
			g.at(on).has = map[string]bool{all: true}
			g.at(on).option = option
		case 4:
			g.at("`app`.`t`").has[[]string{"SELECT", "UPDATE"}[int(b[1])%2]+" (`"+string('a'+b[2]%3)+"`)"] = true
		case 5: // a restriction, which only somebody has who has the right everywhere and not there
			name := onTable[int(b[1])%3]
			if on := things[1+3*int(b[2]%2)]; covers(g.see(anywhere).has, name) && !covers(g.see(on).has, name) {
				g.without[on] = map[string]bool{name: true}
			}
		default:
			names := (&difference{known: onDatabase}).expand(on)
			if name := names[int(b[2]>>1)%len(names)]; !g.at(on).has[all] && !g.without[on][name] {
				g.at(on).has[name] = true
			}
			g.at(on).option = g.at(on).option || b[0] > 250
		}
	}
	for _, on := range slices.Concat(things) { // later grants may have taken what restrictions need
		for name := range g.without[on] {
			if !covers(g.see(anywhere).has, name) || covers(g.see(on).has, name) {
				delete(g.without[on], name)
			}
		}
	}
	return g
}

// FuzzDifference has accounts with any rights become like each other. At no moment they lack
// what they have before and after, but for what MySQL cannot leave alone.
func FuzzDifference(f *testing.F) {
	f.Add([]byte{3, 1, 1, 4, 0, 0}, []byte{6, 1, 2, 0, 1, 0, 1, 1, 1})
	f.Add([]byte{3, 0, 1, 5, 0, 0}, []byte{3, 0, 0, 5, 1, 0, 4, 1, 1})
	f.Add([]byte{0, 1, 1, 2, 0, 1, 1, 0, 1}, []byte{0, 1, 0, 2, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, from, to []byte) {
		if len(from)+len(to) > 200 {
			return
		}
		known := slices.Concat(onDatabase, []string{"PROCESS"})
		d := &difference{server: server{version: [3]int{9, 7, 4}}, to: user{"u", "%"}, have: grantsFrom(from), want: grantsFrom(to), known: known}
		m, want := &sim{grantsFrom(from), t, d}, &sim{grantsFrom(to), t, d}
		var done []string
		for _, s := range d.statements() {
			m.run(s.SQL)
			done = append(done, s.SQL)
			for on, p := range d.have.on {
				for name := range p.has {
					along := base(name) != name && covers(p.has, base(name))
					if name != all && !along && covers(d.want.see(on).has, name) && !covers(m.see(on).has, name) {
						t.Errorf("%s ON %s is missing after\n%s", name, on, strings.Join(done, "\n"))
					}
				}
			}
		}
		if got := m.text(); got != want.text() {
			t.Errorf("%s\nmade\n%s\nwant\n%s", strings.Join(done, "\n"), got, want.text())
		}
		again := &difference{server: d.server, to: d.to, have: m.grants, want: want.grants, known: known}
		if more := again.statements(); len(more) > 0 {
			t.Errorf("and then %v", more)
		}
	})
}
