package daemon

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"slices"

	"github.com/credproxy/credproxy/filewatch"
	"github.com/credproxy/credproxy/wiring"
)

// namedFiles returns the files that the databases' configurations name for TLS.
func (d *daemon) namedFiles() (paths []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, db := range d.current {
		paths = append(paths, wiring.Files(db.cfg)...)
	}
	return paths
}

// filesChanged reports whether a file that a database's configuration names says something
// else than when the database read it.
func (d *daemon) filesChanged() bool {
	d.mu.Lock()
	current := slices.Clone(d.current)
	d.mu.Unlock()
	seen := filewatch.Sums{}
	for _, db := range current {
		if sum, _ := seen.Of(wiring.Files(db.cfg)); sum != db.files {
			return true
		}
	}
	return false
}

// renewal is what a database's files say that were replaced in place. New handshakes will
// use it; sessions go on, and all else stays as it is.
type renewal struct {
	db       *database
	files    [sha256.Size]byte
	upstream *tls.Config
	clients  *tls.Config // nil: none
}

// newRenewal reads the files of db again. Its errors name what is wrong with them.
func newRenewal(db *database, files [sha256.Size]byte) (renewal, error) {
	r := renewal{db: db, files: files}
	up, err := wiring.NewUpstream(db.cfg)
	if err == nil && db.clientTLS != nil {
		r.clients, err = wiring.NewClientTLS(db.cfg.ClientTLS)
	}
	if err != nil {
		return r, fmt.Errorf("%w; the one before stays in use", err)
	}
	r.upstream = up.TLS
	return r, nil
}

// use puts the renewal in force. Call it with daemon.mu held.
func (r renewal) use() {
	r.db.files = r.files
	r.db.upstream.Renew(r.upstream)
	if r.clients != nil {
		r.db.clientTLS.Set(r.clients)
	}
	r.db.log.Info("certificates renewed; new connections use them")
}
