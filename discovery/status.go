package discovery

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/credproxy/credproxy/secrets/awscfg"
)

// Status is what is known of one account.
type Status struct {
	Region    string    // "": the environment's
	Role      string    // the name of the role that is taken to ask; "": none
	Databases int       // that are served
	Left      []string  // that are found and not served, with the reason
	Answered  time.Time // the last whole answer; zero: none yet
	Next      time.Time // when AWS is asked again
	Reason    string    // why the last round gave no whole answer; "": it did
	Err       error     // likewise, for the log and for who runs a command
}

// String says whom it is of.
func (s Status) String() string {
	of := cmp.Or(s.Region, "the environment's region")
	if s.Role != "" {
		of += " as " + s.Role
	}
	return of
}

// Status returns what is known, by region and role.
func (f *Finder) Status() (all []Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for a, s := range f.accounts {
		now := Status{Region: a.region, Databases: s.databases, Left: s.left, Answered: s.answered, Next: s.next}
		if _, name, ok := strings.Cut(a.roleARN, ":role/"); ok {
			now.Role = name
		}
		if s.err != nil {
			now.Reason, now.Err = result(s.err), awscfg.Plain(s.err)
			if s.call != "" {
				now.Err = fmt.Errorf("%s: %w", s.call, now.Err)
			}
		}
		all = append(all, now)
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Role, b.Role)) })
	return all
}

// Unanswered returns why it is not known yet what there is, "" if it is.
func (f *Finder) Unanswered() string {
	for _, s := range f.Status() {
		if s.Answered.IsZero() {
			return "discovery has no answer of AWS yet: " + cmp.Or(s.Reason, "it is being asked")
		}
	}
	return ""
}
