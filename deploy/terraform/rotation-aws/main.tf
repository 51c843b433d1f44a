# One of AWS's rotation functions, from the Serverless Application Repository, for who must
# have AWS's own: once for each secret. docs/rotation-setup.md compares it with ours, which is
# rotation.

variable "name" {
  description = "Of the function, such as rotate-orders."
  type        = string
}

variable "engine" {
  type = string
  validation {
    condition     = contains(["postgres", "mysql", "mariadb"], var.engine)
    error_message = "postgres, mysql or mariadb."
  }
}

variable "kms_key_arn" {
  description = "The secret's key, if it is your own."
  type        = string
  default     = ""
}

variable "master_secret_arn" {
  description = "Secret of a user who may set passwords, for alternating users. Empty: single user."
  type        = string
  default     = ""
}

variable "master_kms_key_arn" {
  description = "The master secret's key, if it is your own."
  type        = string
  default     = ""
}

variable "subnet_ids" {
  description = "Reach the database, and Secrets Manager by its VPC endpoint or NAT."
  type        = list(string)
}

variable "security_group_ids" {
  type = list(string)
}

variable "application_version" {
  description = "Empty: the latest when it is made."
  type        = string
  default     = ""
}

data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  publisher = { # where AWS publishes the applications
    aws        = "us-east-1:297356227824"
    aws-cn     = "cn-north-1:193023089310"
    aws-us-gov = "us-gov-west-1:023102451235"
  }
  engine = { postgres = "PostgreSQL", mysql = "MySQL", mariadb = "MariaDB" }
  users  = var.master_secret_arn == "" ? "SingleUser" : "MultiUser"

  application = "arn:${data.aws_partition.this.partition}:serverlessrepo:${local.publisher[data.aws_partition.this.partition]}:applications/SecretsManagerRDS${local.engine[var.engine]}Rotation${local.users}"
}

resource "aws_serverlessapplicationrepository_cloudformation_stack" "this" {
  name             = var.name
  application_id   = local.application
  semantic_version = var.application_version == "" ? null : var.application_version
  capabilities     = ["CAPABILITY_IAM", "CAPABILITY_RESOURCE_POLICY"]
  parameters = merge(
    {
      endpoint            = "https://secretsmanager.${data.aws_region.this.region}.${data.aws_partition.this.dns_suffix}"
      functionName        = var.name
      vpcSubnetIds        = join(",", var.subnet_ids)
      vpcSecurityGroupIds = join(",", var.security_group_ids)
    },
    var.kms_key_arn == "" ? {} : { kmsKeyArn = var.kms_key_arn },
    var.master_secret_arn == "" ? {} : { masterSecretArn = var.master_secret_arn },
    var.master_kms_key_arn == "" ? {} : { masterSecretKmsKeyArn = var.master_kms_key_arn },
  )
}

output "function_arn" {
  description = "For rotation_function_arn of secret."
  value       = aws_serverlessapplicationrepository_cloudformation_stack.this.outputs.RotationLambdaARN
}
