package daemon

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/credproxy/credproxy/wiring"
)

// maxNamedFile caps what is read of a file that is compared, in bytes.
const maxNamedFile = 16 << 20

// contents remembers the sums of the files that were read, each once.
type contents map[string][sha256.Size]byte

// of returns one sum of what the files say. One that cannot be read, or is no file and
// could be read but once, counts as empty.
func (c contents) of(paths []string) (sum [sha256.Size]byte, whole bool) {
	all, whole := sha256.New(), true
	for _, path := range paths {
		one, known := c[path]
		if !known {
			b, err := readRegular(path)
			whole = whole && err == nil
			one = sha256.Sum256(b)
			c[path] = one
		}
		_, _ = all.Write(one[:])
	}
	return [sha256.Size]byte(all.Sum(nil)), whole
}

func readRegular(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxNamedFile))
}

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
	seen := contents{}
	for _, db := range current {
		if sum, _ := seen.of(wiring.Files(db.cfg)); sum != db.files {
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
