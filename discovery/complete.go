package discovery

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/inventory"
)

// candidate is a database that AWS has, as it would be served.
type candidate struct {
	config.Database
	id   string // of account and database
	from *search
	why  string // it is not served; "": it is
}

// Complete returns cfg with the databases that were found, after those of cfg itself, of
// which the ones that an earlier call has put there count as found.
func (f *Finder) Complete(cfg *config.Config) *config.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	complete := *cfg
	complete.Databases = slices.DeleteFunc(slices.Clone(cfg.Databases), func(db config.Database) bool { return db.Found })
	all := f.candidates(cfg)
	f.admit(all, complete.Databases)
	names, left := map[string]string{}, map[string]string{}
	for _, s := range f.accounts {
		s.databases, s.left = 0, nil
	}
	for _, c := range all {
		if c.why == "" {
			c.from.databases++
			names[c.id] = c.Name
			complete.Databases = append(complete.Databases, c.Database)
			continue
		}
		c.from.left = append(c.from.left, c.Name+": "+c.why)
		if left[c.id] = c.why; f.left[c.id] != c.why {
			f.log.Info("discovery: a database is not served", zap.String("database", c.Name), zap.Stringer("of", c.from.account), zap.String("because", c.why))
		}
	}
	f.names, f.left = names, left
	for a, s := range f.accounts {
		f.observer.Found(a.region, a.role.RoleARN, s.databases)
	}
	return &complete
}

// candidates are those of each entry of cfg, by name. One that two entries find is the
// first one's.
func (f *Finder) candidates(cfg *config.Config) (all []*candidate) {
	seen := map[string]bool{}
	for _, entry := range cfg.Discover {
		s := f.accounts[accountOf(entry)]
		if s == nil {
			continue // it is not wanted yet
		}
		first := len(all)
		add := func(id, why string, db config.Database) {
			if id = fmt.Sprint(s.account, " ", id); seen[id] {
				return
			}
			seen[id] = true
			db.Name = cmp.Or(f.names[id], entry.Prefix+db.Name)
			all = append(all, &candidate{each(entry, db), id, s, why})
		}
		latest, previous := s.plans(entry)
		for _, db := range slices.Concat(latest.Served, previous.Served) {
			add(db.ID, "", db.Database)
		}
		for _, l := range latest.Left {
			add(l.ID, l.Reason, config.Database{Name: l.Name})
		}
		slices.SortStableFunc(all[first:], func(a, b *candidate) int { return cmp.Compare(a.Name, b.Name) })
	}
	return all
}

// plans are those of the last two answers.
func (s *search) plans(entry config.Discover) (latest, previous inventory.Plan) {
	choice := inventory.Choice{Tags: entry.Tags, IAMUser: entry.IAMUser, AssumeRole: entry.AssumeRole, Most: math.MaxInt}
	if s.latest != nil {
		latest = *s.latest.Plan(choice)
	}
	if s.previous != nil {
		previous = *s.previous.Plan(choice)
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

// admit decides which candidates are served beside own, the databases of the file: those
// that have a name already go first.
func (f *Finder) admit(all []*candidate, own []config.Database) {
	names, endpoints := map[string]string{}, map[string]string{}
	for _, db := range own {
		names[db.Name], endpoints[endpoint(&db)] = "databases", "databases"
	}
	delete(endpoints, "")
	count := len(own)
	for _, named := range []bool{true, false} {
		for _, c := range all {
			if _, has := f.names[c.id]; has != named || c.why != "" {
				continue
			}
			at := endpoint(&c.Database)
			switch taken, served := names[c.Name], endpoints[at]; {
			case served != "":
				c.why = "its endpoint is served already, by " + served
			case taken != "":
				c.why = "its name is taken by " + taken + "; set prefix"
			case count >= config.MaxDatabases:
				c.why = fmt.Sprintf("a configuration holds %d databases; narrow them by tags", config.MaxDatabases)
			default:
				if err := c.Check(); err != nil {
					c.why = err.Error()
					continue
				}
				count++
				names[c.Name], endpoints[at] = "another that was found in "+c.from.account.String(), c.Name
			}
		}
	}
}

// endpoint is where a database is, "" if its secret says that.
func endpoint(db *config.Database) string {
	if db.Host == "" {
		return ""
	}
	port := db.Port
	if port == 0 && db.Engine != "" {
		port = db.Engine.Port()
	}
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(db.Host, ".")), strconv.Itoa(port))
}

// Applied says in the log which databases were found and which have gone, now that cfg is
// in force.
func (f *Finder) Applied(cfg *config.Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	log := f.log.With(zap.Bool("audit", true))
	now := map[string]config.Database{}
	for _, db := range cfg.Databases {
		if !db.Found {
			continue
		}
		now[db.Name] = db
		if _, known := f.told[db.Name]; !known {
			log.Info("database found", zap.String("database", db.Name), zap.String("engine", string(db.Engine)), zap.String("upstream", endpoint(&db)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.told)) {
		if _, there := now[name]; !there {
			log.Info("database gone", zap.String("database", name), zap.String("upstream", endpoint(new(f.told[name]))))
		}
	}
	f.told = now
}
