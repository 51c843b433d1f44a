package config

// Engine is the kind of database server.
type Engine string

// NoDatabase is what Database.Database says where clients that name no database shall get
// none, whatever the secret says.
const NoDatabase = "none"

// Port returns the port the engine's servers and listeners use by default, 0
// for the zero Engine.
func (e Engine) Port() int {
	switch e {
	case Postgres:
		return 5432
	case MySQL, MariaDB:
		return 3306
	}
	return 0
}
