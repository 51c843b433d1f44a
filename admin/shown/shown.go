// Package shown puts what other packages know into the words of the status page.
//
// Invariant: nothing that it returns is secret: texts are those that a client may read.
//
// Its functions are pure. What is counted for the page is package tally's.
package shown

import (
	"time"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/discovery"
	"github.com/credproxy/credproxy/probe"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
)

// Credential returns what is known of the credential that logins use, which is of use for
// maxStale after its source has confirmed it.
func Credential(known secrets.Status, maxStale time.Duration) admin.Credential {
	s := admin.Credential{
		Source: known.Source, Accepted: known.Accepted, Refused: known.Refused, Stale: known.Stale,
		NextRefresh: known.NextRefresh.Round(0), NextRotation: known.NextRotation,
	}
	if known.Err != nil {
		s.FetchError = string(secrets.ReasonOf(known.Err))
	}
	if known.Preferred != nil {
		s.User, s.VersionID, s.Expires = known.Preferred.Username, known.Preferred.VersionID, known.Preferred.Expires
		if known.Source == "secrets_manager" { // the others know no labels
			s.Stage = string(known.Stage)
		}
		s.Confirmed, s.AgeSeconds = known.Since.Round(0), time.Since(known.Since).Seconds()
		s.UsableUntil = known.Since.Add(maxStale).Round(0)
	}
	return s
}

// Probe returns what came of the last probe, nil if there was none yet.
func Probe(p *probe.Prober) *admin.Probe {
	last, ok := p.Last()
	if !ok {
		return nil
	}
	s := &admin.Probe{At: last.At.Round(0), OK: last.Err == nil, Seconds: last.Took.Seconds()}
	if last.Credential != nil {
		s.VersionID = last.Credential.VersionID
	}
	if last.Err != nil {
		s.Error = last.Err.Told()
	}
	return s
}

// SourceBreaker returns the state of the breaker in front of the source.
func SourceBreaker(known secrets.Status) *admin.Breaker {
	if !known.SourceLeftAlone {
		return &admin.Breaker{State: admin.BreakerClosed}
	}
	b := &admin.Breaker{State: admin.BreakerOpen}
	if known.Err != nil {
		b.Error = string(secrets.ReasonOf(known.Err))
	}
	return b
}

// DatabaseBreaker returns the state of the breaker in front of the database.
func DatabaseBreaker(now upstream.BreakerStatus) *admin.Breaker {
	b := &admin.Breaker{State: now.State, Since: now.Since.Round(0), RetryAt: now.RetryAt.Round(0)}
	if now.Err != nil {
		b.Error = now.Err.Message
	}
	return b
}

// Servers returns what is known of the servers of a database.
func Servers(s topology.Status) *admin.Servers {
	shown := &admin.Servers{Role: s.Role.String(), Trouble: s.Trouble.Round(0), Changes: s.Changes}
	if s.Server != (topology.Place{}) {
		shown.Server, shown.Address = s.Server.String(), s.Address.String()
	}
	if s.Switchover != topology.NoSwitchover {
		shown.Switchover = s.Switchover.String()
	}
	for _, i := range s.Instances {
		one := admin.Instance{Name: i.Label(), Role: i.Role.String()}
		if i.Lag >= 0 {
			lag := i.Lag.Seconds()
			one.LagSeconds = &lag
		}
		shown.Instances = append(shown.Instances, one)
	}
	return shown
}

// Discovery returns what is known of the accounts that are asked.
func Discovery(accounts []discovery.Status) (all []admin.Discovery) {
	for _, s := range accounts {
		all = append(all, admin.Discovery{
			Region: s.Region, Role: s.Role, Databases: s.Databases, NotServed: len(s.Left), Answered: s.Answered.Round(0), NextRound: s.Next.Round(0), Error: s.Reason,
		})
	}
	return all
}
