package mysql

import (
	"slices"
	"strings"

	"github.com/credproxy/credproxy/rotation/account"
)

// difference makes the statements by which an account gets the rights of another.
type difference struct {
	server
	to         user
	have, want *grants
	known      []string // the privileges of the server, but for the dynamic ones

	gives  []need // what is granted and revoked
	first  []account.Statement
	second []account.Statement
	last   []account.Statement
}

// need is a right that one must be able to give, so as to grant or to revoke it.
type need struct {
	privilege, on string
	role, proxy   *user
}

// statements returns those that are needed. What is new comes before what goes, so that
// what moves from one level to another is never missing, and last what a revocation takes
// along.
func (d *difference) statements() []account.Statement {
	d.partial()
	for _, on := range d.things() {
		d.thing(on)
	}
	d.dynamics()
	d.roles()
	d.proxies()
	return slices.Concat(d.first, d.second, d.last)
}

// things are all that either has privileges on, *.* before the others.
func (d *difference) things() []string {
	on := map[string]bool{}
	for k := range d.have.on {
		on[k] = true
	}
	for k := range d.want.on {
		on[k] = true
	}
	return sorted(on)
}

// Privileges on a database, a table and a routine that are all there. A server has those of
// them that it knows.
var (
	onTable    = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "REFERENCES", "INDEX", "ALTER", "CREATE VIEW", "SHOW VIEW", "TRIGGER", "DELETE HISTORY"}
	onRoutine  = []string{"EXECUTE", "ALTER ROUTINE", "SHOW CREATE ROUTINE"}
	onDatabase = slices.Concat(onTable, onRoutine, []string{"CREATE TEMPORARY TABLES", "LOCK TABLES", "CREATE ROUTINE", "EVENT"})
)

// expand returns the privileges that ALL stands for on what is named.
func (d *difference) expand(on string) (names []string) {
	switch {
	case on == anywhere:
		return d.known
	case strings.HasSuffix(on, ".*"):
		names = onDatabase
	case on[0] == '`':
		names = onTable
	default:
		names = onRoutine
	}
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(d.known, n) })
}

// thing makes the privileges on one thing the same.
func (d *difference) thing(on string) {
	have, want := d.have.see(on), d.want.see(on)
	had := have.has
	if had[all] && !want.has[all] {
		had = map[string]bool{}
		for k := range have.has {
			had[k] = true
		}
		delete(had, all)
		for _, name := range d.expand(on) {
			had[name] = true
		}
	}
	var grant, revoke, again []string
	for _, name := range sorted(want.has) {
		if !covers(had, name) {
			grant = append(grant, name)
		}
	}
	for _, name := range sorted(had) {
		if !covers(want.has, name) {
			revoke = append(revoke, name)
		}
	}
	for _, name := range sorted(want.has) { // goes along with the privilege on the table
		if base(name) != name && slices.Contains(revoke, base(name)) {
			again = append(again, name)
		}
	}
	for _, name := range sorted(d.have.without[on]) { // the grant gave it back there, and it goes with the one on *.*
		if name != grantOption && covers(want.has, name) && !d.want.global(name) {
			again = append(again, name)
		}
	}
	option := want.option && !have.option
	if len(grant) > 0 || option {
		d.first = append(d.first, d.grant(on, grant, option))
	}
	if len(revoke) > 0 {
		d.second = append(d.second, d.revoke(on, revoke))
	}
	if have.option && !want.option {
		d.second = append(d.second, say("REVOKE GRANT OPTION ON ", on, " FROM ", d.to.String()))
	}
	if len(again) > 0 {
		d.last = append(d.last, d.grant(on, again, false))
	}
	if option || have.option && !want.option {
		d.gives = append(d.gives, need{on: on})
	}
}

// covers reports whether the privilege is among those there, which ALL stands for but for
// those on columns.
func covers(has map[string]bool, privilege string) bool {
	return has[privilege] || has[all] && base(privilege) == privilege
}

func (d *difference) grant(on string, names []string, option bool) account.Statement {
	d.needs(on, names)
	if len(names) == 0 {
		names = []string{"USAGE"}
	}
	with := ""
	if option {
		with = " WITH GRANT OPTION"
	}
	return say("GRANT ", strings.Join(names, ", "), " ON ", on, " TO ", d.to.String(), with)
}

func (d *difference) revoke(on string, names []string) account.Statement {
	d.needs(on, names)
	return say("REVOKE ", strings.Join(names, ", "), " ON ", on, " FROM ", d.to.String())
}

func (d *difference) needs(on string, names []string) {
	for _, name := range names {
		if name != all {
			d.gives = append(d.gives, need{privilege: base(name), on: on})
			continue
		}
		for _, one := range d.expand(on) {
			d.gives = append(d.gives, need{privilege: one, on: on})
		}
	}
}

// partial makes the same what is taken away from privileges on *.* in databases. GRANT gives
// such a one back, if it is there, and else grants it on the database.
func (d *difference) partial() {
	for _, on := range sorted(d.have.without) {
		var back []string
		for _, name := range sorted(d.have.without[on]) {
			if name != grantOption && !d.want.without[on][name] && d.want.global(name) {
				back = append(back, name)
			}
		}
		if len(back) > 0 {
			d.first = append(d.first, d.grant(on, back, false))
		}
	}
	for _, on := range sorted(d.want.without) {
		var away []string
		for _, name := range sorted(d.want.without[on]) {
			if !d.have.without[on][name] {
				away = append(away, name)
			}
		}
		if len(away) > 0 {
			d.last = append(d.last, d.revoke(on, away))
		}
	}
}

// dynamics makes MySQL's dynamic privileges the same. MySQL 9.7 keeps in mind that they may be
// given to others when REVOKE GRANT OPTION ON *.* has taken that from its tables, and then
// REVOKE takes the one from the tables, and only when it is repeated the other.
func (d *difference) dynamics() {
	loses := d.have.global(grantOption) && !d.want.global(grantOption)
	for _, name := range sorted(d.want.dynamic) {
		want := d.want.dynamic[name]
		have, is := d.have.dynamic[name]
		switch {
		case !is || want && !have:
			d.first = append(d.first, d.grant(anywhere, []string{name}, want))
		case have && !want:
			d.revokeTwice(name)
			d.last = append(d.last, d.grant(anywhere, []string{name}, false))
		}
		if loses && want {
			d.last = append(d.last, d.grant(anywhere, []string{name}, true))
		}
	}
	for _, name := range sorted(d.have.dynamic) {
		if _, wanted := d.want.dynamic[name]; wanted {
			continue
		}
		if d.have.dynamic[name] {
			d.revokeTwice(name)
		} else {
			d.second = append(d.second, d.revoke(anywhere, []string{name}))
		}
	}
}

func (d *difference) revokeTwice(name string) {
	revoke := d.revoke(anywhere, []string{name})
	d.second = append(d.second, revoke, revoke)
}

// errMandatory is MySQL's ER_MANDATORY_ROLE: everybody has the role anyway.
const errMandatory = "3628"

func (d *difference) roles() {
	for _, r := range sortedUsers(d.want.roles) {
		want := d.want.roles[r]
		have, is := d.have.roles[r]
		if is && have == want {
			continue
		}
		d.gives = append(d.gives, need{role: &r})
		switch {
		case is && have && d.mariadb:
			d.second = append(d.second, say("REVOKE ADMIN OPTION FOR ", r.role(), " FROM ", d.to.String()))
		case want:
			d.first = append(d.first, say("GRANT ", r.role(), " TO ", d.to.String(), " WITH ADMIN OPTION"))
		default: // in MySQL this takes ADMIN OPTION away
			d.first = append(d.first, say("GRANT ", r.role(), " TO ", d.to.String()))
		}
	}
	for _, r := range sortedUsers(d.have.roles) {
		if _, wanted := d.want.roles[r]; !wanted {
			d.gives = append(d.gives, need{role: &r})
			d.second = append(d.second, new(phrase).add("REVOKE ", r.role(), " FROM ", d.to.String()).statement(errMandatory))
		}
	}
}

func (d *difference) proxies() {
	for _, as := range sortedUsers(d.want.proxies) {
		want := d.want.proxies[as]
		have, is := d.have.proxies[as]
		if is && have == want {
			continue
		}
		d.gives = append(d.gives, need{proxy: &as})
		if have {
			d.second = append(d.second, say("REVOKE PROXY ON ", as.String(), " FROM ", d.to.String()))
		}
		with := ""
		if want {
			with = " WITH GRANT OPTION"
		}
		d.last = append(d.last, say("GRANT PROXY ON ", as.String(), " TO ", d.to.String(), with))
	}
	for _, as := range sortedUsers(d.have.proxies) {
		if _, wanted := d.want.proxies[as]; !wanted {
			d.gives = append(d.gives, need{proxy: &as})
			d.second = append(d.second, say("REVOKE PROXY ON ", as.String(), " FROM ", d.to.String()))
		}
	}
}

func sortedUsers(m map[user]bool) []user {
	var users []user
	for u := range m {
		users = append(users, u)
	}
	slices.SortFunc(users, func(a, b user) int { return strings.Compare(a.String(), b.String()) })
	return users
}
