package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"syscall"

	"github.com/credproxy/credproxy/config/text"
)

// Load reads a configuration file. An error that is not an Errors says that the
// file cannot be read.
func Load(path string) (*Config, error) {
	data, err := Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Read reads a configuration file as it stands, at most 1 MiB of it and one byte, so
// that Parse sees an excess.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("open configuration: %w; let the user that credproxy runs as, whose id is %d, read it", err, os.Geteuid())
	}
	if err != nil {
		return nil, fmt.Errorf("open configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, text.MaxSize+1))
	if errors.Is(err, syscall.EISDIR) {
		return nil, fmt.Errorf("read configuration: %w; name a file in it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return data, nil
}

// LoadAdmin reads the admin section of a configuration file, and what it is by default.
// Mistakes in what says where a credproxy is to be asked (listen, control) are its only
// errors: it serves those who ask one that runs, perhaps with an earlier state of the file.
func LoadAdmin(path string) (Admin, error) {
	data, err := Read(path)
	if err != nil {
		return Admin{}, err
	}
	root, err := parseYAML(path, data)
	if err != nil {
		return Admin{}, err
	}
	d, c := newDecoder(path), new(Config)
	if root = d.resolve("", root); isMap(root) {
		d.section("", root, reflect.ValueOf(c).Elem())
	}
	applyDefaults(c, d.written)
	newValidator(d.invalid, d.written).process(c)
	for _, e := range d.errs {
		if e.Path == "admin" || e.Path == "admin.listen" || e.Path == "admin.control" {
			return Admin{}, e
		}
	}
	return c.Admin, nil
}

// Parse reads a configuration from memory; filename is for errors. The error,
// if any, is an Errors with everything wrong. The files that the configuration
// names for TLS must exist, relative ones seen from the working directory.
func Parse(filename string, data []byte) (*Config, error) {
	root, err := parseYAML(filename, data)
	if err != nil {
		return nil, err
	}
	d, c := newDecoder(filename), new(Config)
	if root = d.resolve("", root); root != nil {
		d.section("", root, reflect.ValueOf(c).Elem())
	}
	if !isMap(root) {
		if len(d.errs) == 0 {
			return nil, syntaxError(filename, 1, 1, emptyFile)
		}
		return nil, d.errs
	}

	if !d.cut {
		applyDefaults(c, d.written)
		newValidator(d.invalid, d.written).config(c)
	}
	if len(d.errs) > 0 {
		d.errs.sort()
		return nil, d.errs
	}
	return c, nil
}

// written reports whether a key stands in the file.
func (d *decoder) written(path string) bool {
	_, ok := d.at[path]
	return ok
}

// invalid notes what the validator finds wrong at a path, unless the decoder
// already found something wrong there or below: one mistake, one error.
func (d *decoder) invalid(path, message string) {
	if d.failed[path] {
		return
	}
	for at := path; ; at = parent(at) {
		if position, ok := d.at[at]; ok || at == "" {
			d.errs = append(d.errs, Error{
				File: d.file, Line: max(position.line, 1), Column: max(position.column, 1), Path: path, Message: message,
			})
			return
		}
	}
}
