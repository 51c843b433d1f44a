// Package file reads a database credential from a file, or from a directory with
// a file for each field, and notices when either changes.
//
// A file holds the same JSON as a secret in Secrets Manager. A directory holds
// files named username and password, and optionally engine, host, port and
// dbname, as Kubernetes secrets and the Secrets Store CSI driver mount them.
//
// Invariant: a file of any size, kind or content costs a bounded read, and errors
// name paths and fields but show nothing of what the files hold.
//
// A directory that is not swapped as a whole, as Kubernetes does with its ..data
// link, can be read between two of its files' changes; Watch waits until it is
// still. A password that every user of the machine can read is refused. The package
// knows no staging label but AWSCURRENT.
package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/fsnotify/fsnotify"

	"github.com/credproxy/credproxy/secrets"
)

// Source is a file or a directory. It is a secrets.Source and a secrets.Watcher.
type Source struct {
	// WorldReadable takes a password that every user of the machine can read.
	WorldReadable bool

	path   string
	notify func() (*fsnotify.Watcher, error)
}

// New makes a source of the file or directory at path, which may come later.
func New(path string) *Source {
	return &Source{path: filepath.Clean(path), notify: fsnotify.NewWatcher}
}

// Kind is "file".
func (s *Source) Kind() string { return "file" }

// Fetch reads the credential as it now stands.
func (s *Source) Fetch(ctx context.Context, stage secrets.Stage) (*secrets.Credential, error) {
	if stage != secrets.Current {
		return nil, secrets.Errorf(secrets.NoVersion, "%s: files have no %s", s.path, stage)
	}
	if err := ctx.Err(); err != nil {
		return nil, secrets.Errorf(secrets.Unavailable, "%s: %w", s.path, err)
	}
	document, err := s.read()
	if err != nil {
		return nil, explain(fmt.Errorf("credential file: %w", err))
	}
	defer clear(document)
	c, err := secrets.ParseDocument(document, secrets.Keys{})
	if err != nil {
		return nil, secrets.Errorf(secrets.ReasonOf(err), "%s: %w", s.path, err)
	}
	c.UseLocalVersion()
	return c, nil
}

// explain makes a *secrets.Error of an error of reading a file, with what to do about it
// where that has nothing to do with roles and keys.
func explain(err error) error {
	e := &secrets.Error{Reason: secrets.ReasonOf(err), Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Reason = secrets.NotFound
	case errors.Is(err, fs.ErrPermission):
		e.Reason, e.Hint = secrets.Denied, "Let the user that credproxy runs as read the file, which the log of credproxy names."
		e.Err = fmt.Errorf("%w; let the user that credproxy runs as, whose id is %d, read it", err, os.Geteuid())
	case errors.Is(err, ErrWorldReadable):
		e.Hint = "Keep other users from the file, which the log of credproxy names, or set world_readable."
	}
	return e
}

// read returns the secret document of the file, or one made of the directory's files.
func (s *Source) read() ([]byte, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return readFile(s.path, !s.WorldReadable)
	}
	document, err := s.readDirectory()
	if errors.Is(err, fs.ErrNotExist) { // Kubernetes removed the old ..data meanwhile
		document, err = s.readDirectory()
	}
	return document, err
}

// fields are the files of a directory, the required ones first.
var fields = [...]string{"username", "password", "engine", "host", "port", "dbname"}

const required = 2

func (s *Source) readDirectory() ([]byte, error) {
	path := s.path
	// Through ..data only once, so that all fields are of one version.
	if target, err := filepath.EvalSymlinks(filepath.Join(path, "..data")); err == nil {
		path = target
	}
	document := map[string]string{}
	for i, name := range fields {
		content, err := readFile(filepath.Join(path, name), name == "password" && !s.WorldReadable)
		if i >= required && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !utf8.Valid(content) { // JSON cannot hold it
			return nil, secrets.Errorf(secrets.Malformed, "%s: not UTF-8", filepath.Join(path, name))
		}
		document[name] = trimNewline(string(content))
	}
	return json.Marshal(document)
}

// trimNewline removes the one newline that editors and echo put at a file's end.
func trimNewline(s string) string {
	if line, ok := strings.CutSuffix(s, "\n"); ok {
		return strings.TrimSuffix(line, "\r")
	}
	return s
}

func readFile(path string, guarded bool) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for a writer
		return nil, secrets.Errorf(secrets.Malformed, "%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if guarded {
		if err := guard(path, f); err != nil {
			return nil, err
		}
	}
	content, err := io.ReadAll(io.LimitReader(f, secrets.MaxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(content) > secrets.MaxDocument {
		return nil, secrets.Errorf(secrets.Malformed, "%s: longer than %d bytes", path, secrets.MaxDocument)
	}
	return content, nil
}
