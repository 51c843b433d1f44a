package discovery

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/inventory"
)

// candidate is a database that AWS has, as it would be served.
type candidate struct {
	config.Database
	claim   inventory.Claim // on its name
	secrets []string        // that are attached to it
	from    account
	why     string // it is not served; "": it is
}

// Outcome is a configuration with the databases that were found, and what became of each.
type Outcome struct {
	Config *config.Config
	all    []*candidate
}

// Complete returns cfg with the databases that were found, after those of cfg itself. It
// changes nothing: [Finder.Applied] does, when the outcome is in force.
func (f *Finder) Complete(cfg *config.Config) *Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	complete := *cfg
	complete.Databases = slices.DeleteFunc(slices.Clone(cfg.Databases), func(db config.Database) bool { return db.Found })
	all, owners := f.candidates(cfg)
	admit(all, owners, &complete)
	for _, c := range all {
		if c.why == "" {
			complete.Databases = append(complete.Databases, c.Database)
		}
	}
	return &Outcome{&complete, all}
}

// candidates are those of each entry of cfg, by name, and who has the first claim on each
// name. A database that two entries find is the first one's.
func (f *Finder) candidates(cfg *config.Config) (all []*candidate, owners map[string]inventory.Claim) {
	entries, owners := map[string]int{}, map[string]inventory.Claim{} // entries: by the ID of a database
	for i, entry := range cfg.Discover {
		from := accountOf(entry)
		latest, previous := f.known(from, cfg.Discover).plans(entry, f.inUse())
		first, claims, seen := len(all), map[string]inventory.Claim{}, map[string]bool{}
		for _, c := range slices.Concat(latest.Claims, previous.Claims) {
			if of, there := entries[c.ID]; there && of != i {
				continue
			}
			entries[c.ID], claims[c.ID] = i, c
			name := entry.Prefix + c.Name
			if owner, owned := owners[name]; !owned || c.Before(owner) < 0 {
				owners[name] = c
			}
		}
		add := func(id, why string, secrets []string, db config.Database) {
			if of, there := entries[id]; there && of != i || seen[id] {
				return
			}
			entries[id], seen[id] = i, true
			db.Name = entry.Prefix + db.Name
			claim := claims[id]
			claim.ID = id
			all = append(all, &candidate{each(entry, db), claim, secrets, from, why})
		}
		for _, db := range slices.Concat(latest.Served, previous.Served) {
			add(db.ID, "", db.Secrets, db.Database)
		}
		for _, l := range latest.Left {
			add(l.ID, l.Reason, nil, config.Database{Name: l.Name})
		}
		slices.SortStableFunc(all[first:], func(a, b *candidate) int { return cmp.Compare(a.Name, b.Name) })
	}
	return all, owners
}

// inUse is the secret of each database that is served, "" where there is none.
func (f *Finder) inUse() map[string]string {
	all := map[string]string{}
	for id, db := range f.served {
		all[id] = secretOf(&db)
	}
	return all
}

func secretOf(db *config.Database) string {
	if of := db.Credentials.SecretsManager; of != nil {
		return of.SecretID
	}
	return ""
}

// plans are those of the last two answers.
func (k known) plans(entry config.Discover, inUse map[string]string) (latest, previous inventory.Plan) {
	choice := inventory.Choice{Tags: entry.Tags, IAMUser: entry.IAMUser, AssumeRole: entry.AssumeRole, Most: math.MaxInt, Live: &inventory.Live{Secrets: inUse}}
	if k.latest != nil {
		latest = *k.latest.Plan(choice)
	}
	if k.previous != nil {
		previous = *k.previous.Plan(choice)
	}
	return latest, previous
}

// each is a database that was found as its entry has it served.
func each(entry config.Discover, found config.Database) config.Database {
	db := entry.Each
	db.Found = true
	db.Name, db.Engine, db.Role, db.Host, db.Port, db.Database, db.Credentials = found.Name, found.Engine, found.Role, found.Host, found.Port, found.Database, found.Credentials
	db.Listen = nil
	for _, listen := range entry.Each.Listen {
		db.Listen = append(db.Listen, strings.ReplaceAll(listen, config.NameInListen, db.Name))
	}
	if db.Credentials.SecretsManager == nil { // tokens have no events
		db.Rotation.Events = config.Events{}
	}
	return db
}

// Applied says that an outcome is in force. It keeps what the status and the metrics tell, and
// says in the log what was found, what has gone, and what is not served.
func (f *Finder) Applied(o *Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.accounts {
		s.databases, s.left = 0, nil
	}
	served, left := map[string]config.Database{}, map[string]string{}
	for _, c := range o.all {
		id, s := c.claim.ID, f.accounts[c.from]
		if s == nil {
			continue
		}
		if c.why == "" {
			served[id] = c.Database
			s.databases++
			continue
		}
		s.left = append(s.left, c.Name+": "+c.why)
		if left[id] = c.why; f.left[id] != c.why {
			f.log.Info("discovery: a database is not served", zap.String("database", c.Name), zap.Stringer("of", c.from), zap.String("because", c.why))
		}
	}
	for a, s := range f.accounts {
		f.observer.Found(a.region, a.roleARN, s.databases)
	}
	f.audit(o.all, served)
	f.served, f.left = served, left
}

// audit says how served, of all, differs from what was served before.
func (f *Finder) audit(all []*candidate, served map[string]config.Database) {
	log := f.log.With(zap.Bool("audit", true))
	for _, id := range slices.Sorted(maps.Keys(f.served)) {
		was := f.served[id]
		if now, there := served[id]; !there || now.Name != was.Name {
			log.Info("database gone", zap.String("database", was.Name), zap.String("upstream", endpoint(&was)))
		}
	}
	for _, c := range all {
		now, there := served[c.claim.ID]
		if !there {
			continue
		}
		was, known := f.served[c.claim.ID]
		if !known || was.Name != now.Name {
			log.Info("database found", zap.String("database", now.Name), zap.String("engine", string(now.Engine)), zap.String("upstream", endpoint(&now)))
		} else if before, after := secretOf(&was), secretOf(&now); before != after {
			log.Warn("database has another secret", zap.String("database", now.Name), zap.String("before", cmp.Or(before, "none: IAM")), zap.String("after", cmp.Or(after, "none: IAM")))
		}
	}
}
