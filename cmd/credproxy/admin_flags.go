package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/admin/client"
	"github.com/credproxy/credproxy/config"
)

// findingAdmin is the part of the help about where the admin server is.
const findingAdmin = `The running credproxy is found at --admin, else at the admin.listen that it runs
with: CREDPROXY_ADMIN_LISTEN, the configuration file's (-c), or 127.0.0.1:9090.`

// findingControl is the part of the help about who may control, and over what.
const findingControl = `The command asks over the control socket of that credproxy (admin.control), which it finds
in the same way (CREDPROXY_ADMIN_CONTROL, the file's, or the default). If nobody answers
there, it asks at the admin server's address. Only credproxy's own user, root and the
users of admin.uids may.`

// adminFlags gives a command the flags that say where the admin server is, and
// returns what makes the client.
func adminFlags(cmd *cobra.Command) func() (*client.Client, error) {
	var address, file string
	cmd.Flags().StringVar(&address, "admin", "", "address of the running credproxy's admin server, as host:port")
	configFlag(cmd, &file)
	return func() (*client.Client, error) {
		listen, from, err := adminSetting("admin.listen", file)
		var control string
		if err == nil {
			control, _, err = adminSetting("admin.control", file)
		}
		if address != "" { // the rest does not matter, if it can be had
			listen, from, err = address, origin(cmd.Flags().Lookup("admin")), nil
			control = cmp.Or(control, admin.AutoControl)
		}
		if err == nil && listen == "" && !strings.HasPrefix(control, "unix:") {
			err = fmt.Errorf("%s turns the admin server off, so a running credproxy cannot be asked", from)
		}
		if err != nil {
			return nil, usageError{err}
		}
		c, err := client.New(listen, control, from)
		if err != nil {
			return nil, usageError{err}
		}
		return c, nil
	}
}

// adminSetting returns what run runs with for a key of section admin, and what says so.
func adminSetting(key, file string) (value, from string, err error) {
	for _, s := range config.Settings() {
		if s.Key != key {
			continue
		}
		if value, given := os.LookupEnv(s.Env()); given {
			return value, s.Env(), nil
		}
		value, from = s.Default, "the default"
	}
	if file != "" {
		var section config.Admin
		if section, err = config.LoadAdmin(file); err != nil {
			return "", "", err
		}
		value, from = section.Listen, key+" of "+file
		if key == "admin.control" {
			value = section.Control
		}
	}
	return value, from, nil
}
