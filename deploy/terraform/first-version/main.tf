# credproxy, once in the life of a secret: its first version. The password is in no plan and no state.
#
# When it is applied, replace the module by
#
#   removed {
#     from = module.orders_first_version
#     lifecycle { destroy = false }
#   }
#
# Until then each plan fails. Else Terraform would write a new password some day, which the
# database does not know: once Secrets Manager has deleted the version of long ago, the provider
# takes it for missing. docs/aws.md says how host, port or database change later.

variable "secret_id" {
  description = "ARN or name. Output of secret."
  type        = string
}

variable "engine" {
  type = string
  validation {
    condition     = contains(["postgres", "mysql", "mariadb"], var.engine)
    error_message = "postgres, mysql or mariadb."
  }
}

variable "host" {
  type = string
}

variable "port" {
  type = number
}

variable "database" {
  type = string
}

variable "username" {
  description = "Make this user in the database, with the secret's password, before the first rotation."
  type        = string
}

variable "superuser_secret_arn" {
  description = "Secret of a user who may set passwords, for alternating users. Empty: single user."
  type        = string
  default     = ""
}

locals {
  login = {
    engine   = var.engine
    host     = var.host
    port     = var.port
    dbname   = var.database
    username = var.username
    password = ephemeral.aws_secretsmanager_random_password.first.random_password
    ssl      = true # AWS's rotation functions fall back to plaintext without it
  }
  superuser = var.superuser_secret_arn == "" ? {} : { masterarn = var.superuser_secret_arn }
}

ephemeral "aws_secretsmanager_random_password" "first" {
  password_length    = 32
  exclude_characters = " \"'%/:@\\"
}

data "aws_secretsmanager_secret_versions" "this" {
  secret_id = var.secret_id
}

resource "aws_secretsmanager_secret_version" "first" {
  secret_id                = var.secret_id
  secret_string_wo         = jsonencode(merge(local.login, local.superuser))
  secret_string_wo_version = 1

  lifecycle {
    ignore_changes = [version_stages]

    precondition {
      condition     = try(length(data.aws_secretsmanager_secret_versions.this.versions), 0) == 0
      error_message = "The secret has a value, which belongs to the rotation from now on. Replace this module by a removed block with destroy = false, as docs/aws.md says."
    }
  }
}
